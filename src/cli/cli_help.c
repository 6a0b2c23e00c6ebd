/*
 * cli_help.c - what `keep help`, `keep --help` and `… --help` print.
 *
 * Everything about a store is laid out from its descriptions.
 *
 * Tests: tests/cli/test_cli_help.py (every operation, option and status is named).
 */
#include "cli/cli.h"

#include <ctype.h>
#include <string.h>

enum { WIDTH = 80, COLUMN = 24 };

/* ---------------------------------------------------------------- layout */

/* Print words from column `at` on, continuing at column `indent`. Columns count characters. */
static void put_wrapped(const char *text, int at, int indent)
{
	while (*text) {
		size_t len = strcspn(text, " ");
		int width = 0;

		for (size_t i = 0; i < len; i++)
			width += ((unsigned char)text[i] & 0xc0) != 0x80;
		if (at > indent && at + 1 + width > WIDTH) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		printf("%.*s", (int)len, text);
		at += width;
		text += len;
		text += strspn(text, " ");
	}
	putchar('\n');
}

static void put_entry(const char *name, const char *sentence)
{
	int used = printf("  %s", name);

	if (used >= COLUMN - 1)
		printf("\n%*s", COLUMN, "");
	else
		printf("%*s", COLUMN - used, "");
	put_wrapped(sentence, COLUMN, COLUMN);
}

/* ---------------------------------------------------------------- names */

const char *cli_value_name(const kp_input *input, char out[CLI_NAME_SIZE])
{
	if (input->place) {
		size_t i = 0;

		for (; input->name[i] && i + 1 < CLI_NAME_SIZE; i++)
			out[i] = (char)toupper((unsigned char)input->name[i]);
		out[i] = '\0';
		return out;
	}
	switch (input->kind) {
	case KP_KIND_INTEGER: return "N";
	case KP_KIND_BOOLEAN: return "true|false";
	case KP_KIND_TIME: return "TIME";
	case KP_KIND_ARRAY:
	case KP_KIND_OBJECT:
	case KP_KIND_JSON: return "JSON";
	case KP_KIND_PATH: return "PATH";
	case KP_KIND_BYTES: return "VALUE";
	case KP_KIND_TEXT: break;
	}
	if (input->words && input->words[0] && input->words[1] && !input->words[2]) {
		(void)snprintf(out, CLI_NAME_SIZE, "%s|%s", input->words[0], input->words[1]);
		return out;
	}
	return "NAME";
}

static void format_option(const kp_input *input, char *out, size_t size)
{
	char name[CLI_NAME_SIZE], value[CLI_NAME_SIZE];

	if (input->kind == KP_KIND_BOOLEAN)
		(void)snprintf(out, size, "--%s", cli_option_name(input->name, name));
	else
		(void)snprintf(out, size, "--%s %s", cli_option_name(input->name, name),
			       cli_value_name(input, value));
}

void cli_put_usage(FILE *out, const kp_operation_store *store, const kp_operation *operation)
{
	char name[CLI_NAME_SIZE], option[3 * CLI_NAME_SIZE];

	fprintf(out, "keep %s %s HOME", store->name, cli_option_name(operation->verb, name));
	for (unsigned place = 1; place <= operation->input_count; place++) {
		for (size_t i = 0; i < operation->input_count; i++) {
			const kp_input *input = &operation->inputs[i];

			if (input->place == place)
				fprintf(out,
					input->place_default || !input->required ? " [%s]" : " %s",
					cli_value_name(input, name));
		}
	}
	for (size_t i = 0; i < operation->input_count; i++) {
		if (operation->inputs[i].place)
			continue;
		format_option(&operation->inputs[i], option, sizeof option);
		fprintf(out, " [%s]", option);
	}
}

/* ---------------------------------------------------------------- pieces */

static void put_inputs(const kp_input *inputs, size_t count)
{
	char option[3 * CLI_NAME_SIZE], sentence[400], value[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		const kp_input *input = &inputs[i];

		if (input->place)
			(void)snprintf(option, sizeof option, "%s", cli_value_name(input, value));
		else
			format_option(input, option, sizeof option);
		(void)snprintf(sentence, sizeof sentence, "%s%s%s%s%s", input->sentence,
			       input->fallback ? " Default: " : "",
			       input->fallback ? input->fallback : "", input->fallback ? "." : "",
			       cli_takes_stdin(input) ? " \"-\" reads standard input." : "");
		put_entry(option, sentence);
	}
}

static void put_own_options(const kp_operation *operation)
{
	for (unsigned i = 0; i < CLI_OWN_OPTIONS; i++) {
		const cli_own_option_text *own = &cli_own_options[i];
		char option[2 * CLI_NAME_SIZE];

		if (operation && !cli_own_option_fits(i, operation))
			continue;
		(void)snprintf(option, sizeof option, "--%s%s%s", own->name, own->value ? " " : "",
			       own->value ? own->value : "");
		put_entry(option, own->sentence);
	}
}

static void put_outcomes(const kp_outcome *outcomes, size_t count)
{
	char name[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(name, sizeof name, "%d %s",
			       outcomes[i].is_no ? CLI_NO : keep_status_exit(outcomes[i].status),
			       keep_status_name(outcomes[i].status));
		put_entry(name, outcomes[i].meaning);
	}
}

static void put_exit_statuses(void)
{
	char name[CLI_NAME_SIZE];

	put_entry("0", "Done.");
	put_entry("1", "The answer is no: not found, not equal, not changed.");
	put_entry("2", "Wrong use of the command.");
	for (int status = KEEP_INVALID; keep_status_name(status)[0] != '?'; status++) {
		char sentence[128];

		(void)snprintf(name, sizeof name, "%d %s", keep_status_exit(status),
			       keep_status_name(status));
		(void)snprintf(sentence, sizeof sentence, "%s.", keep_status_text(status));
		sentence[0] = (char)toupper((unsigned char)sentence[0]);
		put_entry(name, sentence);
	}
}

static const char home_sentence[] =
	"A folder made by keep init, a postgres:// URL, or the URL of one store alone. Left out, "
	"KEEP_HOME stands in.";

static void put_fields(const kp_operation_store *store, const kp_record *record)
{
	const char *const *texts = record ? kp_record_texts(store, record) : NULL;

	for (size_t i = 0; texts && i < record->field_count; i++)
		put_entry(record->fields[i].name, texts[i]);
}

static void put_shown(const kp_operation *operation)
{
	char text[400];

	(void)snprintf(text, sizeof text, "Printed without --json: %s.",
		       operation->prints_lines ? "each as JSON, on a line" : operation->shown);
	printf("\n  ");
	put_wrapped(text, 2, 2);
}

/* ---------------------------------------------------------------- pages */

void cli_help_all(void)
{
	puts("keep - the durable state of chat agents\n\nUsage:");
	puts("  keep STORE VERB HOME [WORD …] [--NAME VALUE …]\n  keep COMMAND …\n\nStores:");
	for (size_t i = 0; i < kp_store_count(); i++)
		put_entry(kp_store_at(i)->name, kp_store_at(i)->sentence);
	puts("\nCommands:");
	for (const cli_command *command = cli_commands; command->name; command++)
		if (command->sentence)
			put_entry(command->name, command->sentence);
	puts("\nHOME:");
	put_entry("HOME", home_sentence);
	puts("\nExit statuses:");
	put_exit_statuses();
	puts("\nMore: keep STORE --help, keep STORE VERB --help, keep COMMAND --help, man keep");
}

void cli_help_store(const kp_operation_store *store)
{
	char name[2 * CLI_NAME_SIZE];

	printf("keep %s - %s\n\nUsage:\n  keep %s VERB HOME [WORD …] [--NAME VALUE …]\n\nVerbs:\n",
	       store->name, store->sentence, store->name);
	for (size_t i = 0; i < store->group_count; i++) {
		const kp_operation_group *group = store->groups[i];

		if (group->title)
			printf("%s%s:\n", i ? "\n" : "", group->title);
		for (size_t k = 0; k < group->count; k++)
			put_entry(cli_option_name(group->operations[k].verb, name),
				  group->operations[k].sentence);
	}
	puts("\nOptions of every verb:");
	put_inputs(store->settings, store->setting_count);
	put_own_options(NULL);
	puts("\nExit statuses of every verb, beside 0 for done and 2 for wrong use:");
	put_outcomes(store->outcomes, store->outcome_count);
	printf("\nMore: keep %s VERB --help\n", store->name);
}

void cli_help_operation(const kp_operation_store *store, const kp_operation *operation)
{
	char name[CLI_NAME_SIZE], title[400];

	(void)snprintf(title, sizeof title, "keep %s %s - %s", store->name,
		       cli_option_name(operation->verb, name), operation->sentence);
	put_wrapped(title, 0, 0);
	putchar('\n');
	if (operation->more) {
		put_wrapped(operation->more, 0, 0);
		putchar('\n');
	}
	printf("Usage:\n  ");
	cli_put_usage(stdout, store, operation);
	puts("\n\nInputs:");
	put_entry("HOME", store->places ? store->places[operation->part] : home_sentence);
	put_inputs(operation->inputs, operation->input_count);
	puts("\nOptions:");
	put_inputs(store->settings, store->setting_count);
	put_own_options(operation);
	printf("\nResult:\n  ");
	put_wrapped(operation->result_sentence, 2, 2);
	for (size_t i = 0; i < operation->member_count; i++)
		put_entry(operation->members[i].name, operation->members[i].sentence);
	put_fields(store, operation->record);
	if (operation->shown || operation->prints_lines)
		put_shown(operation);
	puts("\nExit statuses, beside 0 for done and 2 for wrong use:");
	put_outcomes(operation->outcomes, operation->outcome_count);
	put_outcomes(store->outcomes, store->outcome_count);
	if (operation->alias)
		printf("\nAlso: keep %s %s\n", store->name,
		       cli_option_name(operation->alias, name));
}

void cli_help_command(const cli_command *command)
{
	char title[400];

	(void)snprintf(title, sizeof title, "keep %s - %s", command->name,
		       command->sentence ? command->sentence : "For the makers of Keep.");
	put_wrapped(title, 0, 0);
	printf("\nUsage:\n  keep %s %s\n", command->name, command->usage);
	if (command->more) {
		putchar('\n');
		put_wrapped(command->more, 0, 0);
	}
}

static int help_command(const char *name)
{
	for (const cli_command *command = cli_commands; command->name; command++) {
		if (strcmp(command->name, name) == 0) {
			cli_help_command(command);
			return cli_finish_output(CLI_DONE);
		}
	}
	return cli_wrong_use("", "help: %s: no such store or command", name);
}

int cli_help_main(int argc, char **argv)
{
	const kp_operation_store *store = argc ? kp_store_find(keep_bytes_of(argv[0])) : NULL;
	const kp_operation *operation = NULL;

	if (argc == 0) {
		cli_help_all();
		return cli_finish_output(CLI_DONE);
	}
	if (!store)
		return help_command(argv[0]);
	if (argc > 1) {
		operation = cli_find_operation(store, argv[1]);
		if (!operation)
			return cli_wrong_use(store->name, "%s %s: no such verb", store->name,
					     argv[1]);
		cli_help_operation(store, operation);
	} else {
		cli_help_store(store);
	}
	return cli_finish_output(CLI_DONE);
}
