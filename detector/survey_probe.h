/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DETECTOR_SURVEY_PROBE_H
#define DETECTOR_SURVEY_PROBE_H

/**
 * Which connections of a survey are probed, when the user asked for it.
 *
 * Suspects are those of which the first judgement could not say whether the
 * peer is there: silent, unreachable without proof, a half-close of ours that
 * waits for the peer, an uncertain local cause or sign of life, or not
 * judgeable. A certain verdict is none: proof needs no packet. CLOSE_WAIT is
 * none by itself either, because a probe changes nothing about what the program
 * has to do; nor are unread data, a closed window and a path that loses big
 * packets, which say what a reader or writer waits for.
 *
 * What the user names by fd or remote address is probed also where it is no
 * suspect, unless it is certain to be dead: that would only send a packet.
 */

#include "detector/survey.h"

/** Does the connection that --fd names exist? Otherwise ERROR_GONE and the
 * like, and nothing is touched. */
struct error *survey_probe_check(const struct survey *s,
				 const struct survey_options *opt);

/**
 * Choose among the @n connections @v that were judged (s->verdicts), probe,
 * and put what came of it into @facts, to be judged again. Sets s->probes.
 * Fails as netwatch_probe().
 */
struct error *survey_probe(struct survey *s, const struct survey_options *opt,
			   struct tcp_socket **v, struct net_facts *facts,
			   size_t n);

#endif
