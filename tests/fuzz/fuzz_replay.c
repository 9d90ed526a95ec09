/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>

#include "netwatch/replay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Take all out of it that the program would. */
static void use(const struct net_replay *replay)
{
	struct arena *arena = arena_create();
	struct tcp_snapshot *snap = NULL;

	error_free(net_replay_snapshot(replay, &snap));
	for (size_t i = 0; snap && i < snap->n; i++) {
		struct tcp_socket *s = &snap->v[i];
		struct net_facts facts;

		if (i > 0 && s[-1].inode > s->inode)
			abort();
		net_replay_resample(replay, s);
		error_free(net_replay_facts(replay, s, arena, &facts));
		if (facts.peer.lookup > PEER_AMBIGUOUS ||
		    facts.path.carrier > FACT_NO ||
		    facts.peer.peer_state > TCP_STATE_NEW_SYN_RECV)
			abort();
	}
	tcp_snapshot_destroy(snap);
	arena_destroy(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct net_replay *replay = NULL;
	struct error *err = net_replay_parse(data, size, &replay);

	if (err) {
		if (error_code(err) != ERROR_USAGE)
			abort();
		error_free(err);
		return 0;
	}
	use(replay);
	net_replay_close(replay);
	return 0;
}
