/*
 * cli_completion.c - `keep completion bash`: a script made of the descriptions.
 *
 * The script is data: which words may follow which. Where a HOME or a value may stand it leaves
 * the choice to the shell's own completion of file names.
 *
 * Tests: tests/cli/test_cli_help.py runs the script in bash.
 */
#include "cli/cli.h"

#include <string.h>

static void put_option_words(const kp_input *inputs, size_t count)
{
	char name[CLI_NAME_SIZE];

	for (size_t i = 0; i < count; i++)
		printf(" --%s", cli_option_name(inputs[i].name, name));
}

static void put_verb(const kp_operation_store *store, const kp_operation *operation)
{
	char name[CLI_NAME_SIZE];

	printf("\t%s\\ %s) words=\"", store->name, cli_option_name(operation->verb, name));
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
		printf("\t%s\\ %s\\ --%s) words=\"", store->name, cli_option_name(verb, name),
		       cli_option_name(inputs[i].name, option));
		for (const char *const *word = inputs[i].words; *word; word++)
			printf("%s%s", word == inputs[i].words ? "" : " ", *word);
		puts("\" ;;");
	}
}

static void put_first_words(void)
{
	printf("\t\twords=\"--help --version");
	for (size_t i = 0; i < kp_store_count(); i++)
		printf(" %s", kp_store_at(i)->name);
	for (const cli_command *command = cli_commands; command->name; command++)
		if (command->sentence)
			printf(" %s", command->name);
	puts("\"");
}

static void put_verbs_of(const kp_operation_store *store)
{
	const kp_operation *operation;
	char name[CLI_NAME_SIZE];

	printf("\t\t%s) words=\"--help", store->name);
	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++)
		printf(" %s", cli_option_name(operation->verb, name));
	puts("\" ;;");
}

static void put_bash(void)
{
	const kp_operation *operation;

	puts("# Completion of keep for bash, made by: keep completion bash\n"
	     "_keep()\n{\n"
	     "\tlocal word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} words=\n"
	     "\tCOMPREPLY=()\n"
	     "\tif ((COMP_CWORD == 1)); then");
	put_first_words();
	puts("\telif ((COMP_CWORD == 2)); then\n\t\tcase ${COMP_WORDS[1]} in");
	for (size_t i = 0; i < kp_store_count(); i++)
		put_verbs_of(kp_store_at(i));
	puts("\t\tcompletion) words=bash ;;\n\t\tesac\n"
	     "\telif [[ $word == -* ]]; then\n"
	     "\tcase \"${COMP_WORDS[1]} ${COMP_WORDS[2]}\" in");
	for (size_t i = 0; i < kp_store_count(); i++)
		for (size_t k = 0; (operation = kp_operation_at(kp_store_at(i), k)); k++)
			put_verb(kp_store_at(i), operation);
	puts("\tesac\n\telse\n\tcase \"${COMP_WORDS[1]} ${COMP_WORDS[2]} $before\" in");
	for (size_t i = 0; i < kp_store_count(); i++) {
		const kp_operation_store *store = kp_store_at(i);

		for (size_t k = 0; (operation = kp_operation_at(store, k)); k++)
			put_choices(store, operation->verb, operation->inputs,
				    operation->input_count);
		put_choices(store, "*", store->settings, store->setting_count);
	}
	puts("\tesac\n\tfi\n"
	     "\tif [[ $words ]]; then\n"
	     "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
	     "\tfi\n}\n"
	     "complete -o default -F _keep keep");
}

int cli_completion_main(int argc, char **argv)
{
	if (argc != 1 || strcmp(argv[0], "bash") != 0)
		return cli_wrong_use("completion", "completion: for which shell? bash");
	put_bash();
	return cli_finish_output(CLI_DONE);
}
