/*
 * cli_completion.c - `keep completion bash`: a script made of the descriptions.
 *
 * The script is data: which words may follow which. Where a HOME or a value may stand it leaves
 * the choice to the shell's own completion of file names.
 *
 *   1. Of a store's verb the words are its description's.
 *   2. Of a command they are those of its usage: a word with two hyphens in front is an option, a
 *      word of small letters alone is meant as it is written. Usage is the one list of them, and a
 *      test holds it against what the command reads.
 *   3. Hyphens and underscores are one, `--name=value` and `--name value` too.
 *   4. After a `--` nothing is Keep's: the words are those of an agent's command.
 *
 * Tests: tests/cli/test_cli_completion.py runs the script in bash.
 */
#include "cli/cli.h"

#include <string.h>

/* ---------------------------------------------------------------- stores */

static void put_option_words(const kp_input *inputs, size_t count)
{
	char name[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++)
		printf(" --%s", cli_option_name(inputs[i].name, name));
}

static void put_verb(const kp_operation_store *store, const kp_operation *operation)
{
	char name[CLI_NAME_SIZE];

	printf("\t\t%s\\ %s", store->name, cli_option_name(operation->verb, name));
	if (operation->alias)
		printf(" | %s\\ %s", store->name, cli_option_name(operation->alias, name));
	printf(") words=\"");
	for (unsigned i = 0; i < CLI_OWN_OPTIONS; i++)
		if (cli_own_option_fits(i, operation))
			printf("%s--%s", i ? " " : "", cli_own_options[i].name);
	put_option_words(operation->inputs, operation->input_count);
	put_option_words(store->settings, store->setting_count);
	puts("\" ;;");
}

/* What may follow an option that takes one of a few words, after a store and a verb (or `*`). */
static void put_choices(const kp_operation_store *store, const char *verb, const kp_input *inputs,
			size_t count)
{
	char name[CLI_NAME_SIZE], option[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++) {
		if (!inputs[i].words)
			continue;
		printf("\t\t%s\\ %s\\ --%s) words=\"", store->name, cli_option_name(verb, name),
		       cli_option_name(inputs[i].name, option));
		for (const char *const *word = inputs[i].words; *word; word++)
			printf("%s%s", word == inputs[i].words ? "" : " ", *word);
		puts("\" ;;");
	}
}

static void put_verbs_of(const kp_operation_store *store)
{
	const kp_operation *operation;
	char name[CLI_NAME_SIZE];

	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++) {
		printf(" %s", cli_option_name(operation->verb, name));
		if (operation->alias)
			printf(" %s", cli_option_name(operation->alias, name));
	}
}

/* ---------------------------------------------------------------- commands */

static void put_command_names(void)
{
	for (const cli_command *command = cli_commands; command->name; command++)
		if (command->sentence)
			printf(" %s", command->name);
}

static void put_store_names(void)
{
	for (size_t i = 0; i < kp_store_count(); i++)
		printf(" %s", kp_store_at(i)->name);
}

/* The options, or else the words to be written as they are, of a command's usage. */
static void put_usage_words(const char *usage, bool options)
{
	static const char small[] = "abcdefghijklmnopqrstuvwxyz-";
	const char *at = usage;

	while (*at) {
		size_t len;

		at += strspn(at, " []|");
		len = strcspn(at, " []|");
		if (len > 2 && strncmp(at, "--", 2) == 0) {
			if (options)
				printf(" %.*s", (int)len, at);
		} else if (len && !options && strspn(at, small) == len && *at != '-') {
			printf(" %.*s", (int)len, at);
		}
		at += len;
	}
}

/* ---------------------------------------------------------------- the script */

static const char script_begin[] =
	"# Completion of keep for bash, made by: keep completion bash\n"
	"_keep()\n{\n"
	"\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words= at\n"
	"\tlocal first=${COMP_WORDS[1]} second=${COMP_WORDS[2]//_/-}\n"
	"\tCOMPREPLY=()\n"
	"\tfor ((at = 2; at < COMP_CWORD; at++)); do\n"
	"\t\t[[ ${COMP_WORDS[at]} == -- ]] && return\n"
	"\tdone\n"
	"\tif [[ $word == = ]]; then\n"
	"\t\tword=\n"
	"\telif [[ $before == = ]]; then\n"
	"\t\tbefore=${COMP_WORDS[COMP_CWORD-2]}\n"
	"\tfi\n"
	"\tbefore=${before//_/-}\n"
	"\t[[ $COMP_CWORD == 2 || $word == -* ]] && word=${word//_/-}\n";

static const char script_end[] = "\tif [[ $words ]]; then\n"
				 "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
				 "\tfi\n}\n"
				 "complete -o default -F _keep keep";

/* The second word: a verb, or what `help` explains. */
static void put_second_words(void)
{
	puts("\telif ((COMP_CWORD == 2)) && [[ $word != -* ]]; then\n\t\tcase $first in");
	for (size_t i = 0; i < kp_store_count(); i++) {
		printf("\t\t%s) words=\"--help", kp_store_at(i)->name);
		put_verbs_of(kp_store_at(i));
		puts("\" ;;");
	}
	printf("\t\thelp) words=\"");
	put_store_names();
	put_command_names();
	puts("\" ;;\n\t\tcompletion) words=bash ;;\n\t\tesac");
}

static void put_options(void)
{
	const kp_operation *operation;

	puts("\telif [[ $word == -* ]]; then\n\t\tcase \"$first $second\" in");
	for (size_t i = 0; i < kp_store_count(); i++)
		for (size_t k = 0; (operation = kp_operation_at(kp_store_at(i), k)); k++)
			put_verb(kp_store_at(i), operation);
	for (size_t i = 0; i < kp_store_count(); i++)
		printf("\t\t%s\\ *) words=--help ;;\n", kp_store_at(i)->name);
	for (const cli_command *command = cli_commands; command->name; command++) {
		if (!command->sentence)
			continue;
		printf("\t\t%s\\ *) words=\"--help", command->name);
		put_usage_words(command->usage, true);
		puts("\" ;;");
	}
	puts("\t\tesac");
}

static void put_other_words(void)
{
	const kp_operation *operation;

	puts("\telse\n\t\tcase \"$first $second $before\" in");
	for (size_t i = 0; i < kp_store_count(); i++) {
		const kp_operation_store *store = kp_store_at(i);

		for (size_t k = 0; (operation = kp_operation_at(store, k)); k++) {
			put_choices(store, operation->verb, operation->inputs,
				    operation->input_count);
			if (operation->alias)
				put_choices(store, operation->alias, operation->inputs,
					    operation->input_count);
		}
		put_choices(store, "*", store->settings, store->setting_count);
		printf("\t\thelp\\ %s\\ %s) words=\"", store->name, store->name);
		put_verbs_of(store);
		puts("\" ;;");
	}
	for (const cli_command *command = cli_commands; command->name; command++) {
		if (!command->sentence || strncmp(command->usage, "HOME ", 5) != 0)
			continue;
		printf("\t\t%s\\ *\\ [!-]*) words=\"", command->name);
		put_usage_words(command->usage, false);
		puts("\" ;;");
	}
	puts("\t\tesac\n\tfi");
}

static void put_bash(void)
{
	fputs(script_begin, stdout);
	printf("\tif ((COMP_CWORD == 1)); then\n\t\twords=\"--help --version");
	put_store_names();
	put_command_names();
	puts("\"");
	put_second_words();
	put_options();
	put_other_words();
	puts(script_end);
}

int cli_completion_main(int argc, char **argv)
{
	if (argc != 1 || strcmp(argv[0], "bash") != 0)
		return cli_wrong_use("completion", "completion: for which shell? bash");
	put_bash();
	return cli_finish_output(CLI_DONE);
}
