/* SPDX-License-Identifier: Apache-2.0 */

/** `help` and `version`: both printed from the tables in cli.c. */

#include <string.h>

#include "detector/cmd.h"

/* Where the explanation of an option or command begins. */
#define HELP_COLUMN 26

static void put_row(struct text *t, const char *left, const char *text)
{
	char first[HELP_COLUMN + 1];

	if (strlen(left) + 1 < HELP_COLUMN) {
		snprintf(first, sizeof(first), "%-*s", HELP_COLUMN, left);
	} else {
		fprintf(t->out, "%s\n", left);
		snprintf(first, sizeof(first), "%*s", HELP_COLUMN, "");
	}
	text_wrap(t, first, text);
}

static void put_option(struct text *t, const struct cli_option *o)
{
	char left[64];

	snprintf(left, sizeof(left), "  %c%c%c --%s%s%s", o->letter ? '-' : ' ',
		 o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
		 o->arg ? "=" : "", o->arg ? o->arg : "");
	put_row(t, left, o->help);
}

static void put_options(struct text *t, uint64_t options)
{
	fputs("\nOptions:\n", t->out);
	for (const struct cli_option *o = cli_options; o->name; o++)
		if (options & o->bit)
			put_option(t, o);
}

static void put_overview(struct text *t)
{
	uint64_t every = 0;

	text_wrap(t, "",
		  "stranded finds the goroutines, coroutines and threads of "
		  "a running program that are stuck for ever, names the TCP "
		  "connection that each waits on, says whether that "
		  "connection is dead and how it knows, and shows the "
		  "stacks: from outside, without a stop.");
	fputs("\nUsage: stranded [COMMAND] [OPTION]... [PID|NAME]...\n\n"
	      "Commands:\n",
	      t->out);
	for (const struct command *c = cli_commands; c->name; c++) {
		char left[64];

		snprintf(left, sizeof(left), "  %s", c->name);
		put_row(t, left, c->summary);
		every |= c->options;
	}
	put_options(t, every | OPT_VERSION);
	fputs("\nExit status: 0 clean, 1 findings, 2 nothing could be judged, "
	      "3 no finding\nbut gaps, 64 wrong usage. More in stranded(1).\n",
	      t->out);
}

void cli_print_help(FILE *out, const struct command *command)
{
	struct text t;

	text_init(&t, out, COLOR_NEVER);
	if (t.width > 100)
		t.width = 100;
	if (!command) {
		put_overview(&t);
		return;
	}
	fprintf(out, "Usage: stranded %s%s%s%s\n\n", command->name,
		command->options & ~(uint32_t)OPT_HELP ? " [OPTION]..." : "",
		*command->args ? " " : "", command->args);
	text_wrap(&t, "", command->details);
	put_options(&t, command->options);
}

int cmd_help(const struct cli *cli)
{
	const struct command *command = NULL;

	if (cli->n_args) {
		command = cli_find_command(cli->args[0]);
		if (!command)
			return cmd_finish(error_new(ERROR_USAGE,
						    "no command '%s'; stranded "
						    "help lists them",
						    cli->args[0]),
					  STATUS_USAGE);
	}
	cli_print_help(stdout, command);
	return cmd_finish(NULL, STATUS_CLEAN);
}

int cmd_version(const struct cli *cli)
{
	(void)cli;
	printf("stranded %s\n", stranded_version());
	return cmd_finish(NULL, STATUS_CLEAN);
}
