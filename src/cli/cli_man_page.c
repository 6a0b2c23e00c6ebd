/*
 * cli_man_page.c - `keep manual --man`: keep(1) in scdoc's form, laid out from the descriptions.
 *
 * man/keep.1.scd is this output, committed; a test compares the two.
 *
 * Tests: tests/cli/test_cli_help.py.
 */
#include "cli/cli.h"

#include <ctype.h>

static const char introduction[] =
	"keep(1)\n\n"
	"# NAME\n\nkeep - the durable state of chat agents\n\n"
	"# SYNOPSIS\n\n"
	"*keep* _STORE_ _VERB_ _HOME_ [_WORD_ ...] [--_NAME_ _VALUE_ ...]\n\n"
	"*keep* _COMMAND_ ...\n\n"
	"# DESCRIPTION\n\n"
	"Keep remembers what a chat agent must not forget, through crashes, full disks and second "
	"processes.\n\n"
	"_HOME_ is a folder made by *keep init*, a postgres:// URL, or the URL of one store alone "
	"(sqlite:FILE, file:DIR, memory:, redis://...). It may be left out when KEEP\\_HOME is "
	"set; then the first word is still taken as _HOME_ if it is a URL, or if there is one word "
	"more than the verb takes.\n\n"
	"Options may stand anywhere; *--* ends them. A lone *-* reads a value from standard input. "
	"Results are printed for people; *--json* prints JSON. A failure is one line on standard "
	"error.\n\n";

static const char ending[] =
	"# ENVIRONMENT\n\n*KEEP\\_HOME*\n\tThe home that is used when none is given.\n\n"
	"# SEE ALSO\n\ndocs/reference/operations.md in Keep's sources, which tells of every "
	"input, result and status, and of the JSON lines.\n";

/* Text in which nothing is markup. */
static void put_plain(const char *text)
{
	for (; *text; text++) {
		if (*text == '_' || *text == '*' || *text == '\\' || *text == '<' || *text == '#')
			putchar('\\');
		putchar(*text);
	}
}

static void put_term(const char *name, const char *value, const char *sentence)
{
	printf("*");
	put_plain(name);
	printf("*");
	if (value) {
		printf(" ");
		put_plain(value);
	}
	printf("\n\t");
	put_plain(sentence);
	printf("\n\n");
}

static void put_options(const kp_input *inputs, size_t count, bool places)
{
	char name[CLI_NAME_SIZE], option[CLI_NAME_SIZE + 2], value[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		const kp_input *input = &inputs[i];

		if ((input->place > 0) != places)
			continue;
		(void)snprintf(option, sizeof option, "--%s", cli_option_name(input->name, name));
		put_term(places ? cli_value_name(input, value) : option,
			 places || input->kind == KP_KIND_BOOLEAN ? NULL
								  : cli_value_name(input, value),
			 input->sentence);
	}
}

static void put_commands(void)
{
	puts("# COMMANDS\n");
	for (const cli_command *command = cli_commands; command->name; command++) {
		char name[2 * CLI_NAME_SIZE];

		if (!command->sentence)
			continue;
		(void)snprintf(name, sizeof name, "keep %s", command->name);
		put_term(name, command->usage, command->sentence);
		if (command->more) {
			putchar('\t');
			put_plain(command->more);
			puts("\n");
		}
	}
}

static void put_store(const kp_operation_store *store)
{
	const kp_operation *operation;
	char name[CLI_NAME_SIZE];

	printf("# THE STORE ");
	for (const char *at = store->name; *at; at++)
		putchar(toupper((unsigned char)*at));
	printf("\n\n");
	put_plain(store->sentence);
	printf("\n\n");
	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++) {
		printf("## keep %s %s\n\n", store->name, cli_option_name(operation->verb, name));
		put_plain(operation->sentence);
		if (operation->more) {
			putchar(' ');
			put_plain(operation->more);
		}
		printf("\n\n");
		put_options(operation->inputs, operation->input_count, true);
		put_options(operation->inputs, operation->input_count, false);
	}
	printf("## Options of every keep %s command\n\n", store->name);
	put_options(store->settings, store->setting_count, false);
}

static void put_exit_statuses(void)
{
	char number[16];

	puts("# EXIT STATUS\n");
	put_term("0", NULL, "Done.");
	put_term("1", NULL, "The answer is no: not found, not equal, not changed.");
	put_term("2", NULL, "Wrong use of the command.");
	for (int status = KEEP_INVALID; keep_status_name(status)[0] != '?'; status++) {
		(void)snprintf(number, sizeof number, "%d", keep_status_exit(status));
		put_term(number, keep_status_name(status), keep_status_text(status));
	}
	put_term("130, 143", NULL, "Ended by SIGINT or SIGTERM, after finishing what was begun.");
}

void cli_man_page(void)
{
	fputs(introduction, stdout);
	put_commands();
	puts("# OPTIONS OF EVERY STORE\n");
	for (unsigned i = 0; i < CLI_OWN_OPTIONS; i++) {
		char option[CLI_NAME_SIZE];

		(void)snprintf(option, sizeof option, "--%s", cli_own_options[i].name);
		put_term(option, cli_own_options[i].value, cli_own_options[i].sentence);
	}
	for (size_t i = 0; i < kp_store_count(); i++)
		put_store(kp_store_at(i));
	put_exit_statuses();
	fputs(ending, stdout);
}
