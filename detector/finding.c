/* SPDX-License-Identifier: Apache-2.0 */
#include "detector/finding.h"

#include <stdlib.h>
#include <string.h>

static const char *const kind_names[] = {
	[FINDING_STRANDED_READER] = "stranded-reader",
	[FINDING_STRANDED_WRITER] = "stranded-writer",
	[FINDING_STRANDED_CONNECT] = "stranded-connect",
	[FINDING_HALF_CLOSED_HELD] = "half-closed-held",
	[FINDING_DEAD_IDLE] = "dead-idle-connection",
	[FINDING_BLOCKED_GROUP] = "blocked-group",
};

const char *finding_kind_name(enum finding_kind kind)
{
	return kind_names[kind];
}

bool finding_kind_parse(const char *name, enum finding_kind *ret)
{
	for (size_t i = 0; i < sizeof(kind_names) / sizeof(kind_names[0]);
	     i++) {
		if (!strcmp(name, kind_names[i])) {
			*ret = (enum finding_kind)i;
			return true;
		}
	}
	return false;
}

const char *grade_name(enum grade grade)
{
	switch (grade) {
	case GRADE_PROVEN:
		return "proven";
	case GRADE_LIKELY:
		return "likely";
	case GRADE_POSSIBLE:
		return "possible";
	}
	return "?";
}

const char *blocked_source_name(enum blocked_source source)
{
	switch (source) {
	case BLOCKED_UNKNOWN:
		return "unknown";
	case BLOCKED_WAITSINCE:
		return "waitsince";
	case BLOCKED_OBSERVED:
		return "observed";
	case BLOCKED_LAST_DATA:
		return "last-data";
	case BLOCKED_PROCESS:
		return "process";
	}
	return "unknown";
}

size_t findings_count(const struct findings *findings, enum grade grade)
{
	size_t n = 0;

	for (size_t i = 0; i < findings->n; i++)
		n += findings->v[i].grade == grade;
	return n;
}

void findings_destroy(struct findings *findings)
{
	if (!findings)
		return;
	for (size_t i = 0; i < findings->n; i++)
		free(findings->v[i].members);
	free(findings->v);
	arena_destroy(findings->arena);
	free(findings);
}
