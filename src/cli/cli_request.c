/*
 * cli_request.c - the words of `keep <store> <verb> HOME [positional …] [--name value …]`.
 *
 * Options may stand anywhere; `--name=value` and `--name value` are one; an option that is a flag
 * takes a value only with `=`; `--` ends options, so that a path or value may begin with `-`. A
 * lone `-` is a word (standard input, for a value). Underscores and hyphens in names are one.
 *
 * Where HOME comes from, in this order:
 *   1. --home HOME; then no HOME stands among the positional words.
 *   2. The first positional word, when KEEP_HOME is not set, or the word is a URL of a store or of
 *      a server, or there is one word more than the operation takes.
 *   3. KEEP_HOME.
 *
 * An option is looked for among the operation's own inputs first, then the store's settings, then
 * the command's own: for `watch`, --timeout-ms is the watch's.
 *
 * Tests: tests/cli/test_cli_words.py.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 16 };

const cli_own_option_text cli_own_options[CLI_OWN_OPTIONS] = {
	[CLI_OPTION_HOME] = {"home", "HOME", "The home or URL, instead of the first word."},
	[CLI_OPTION_JSON] = {"json", NULL, "Print the result as JSON."},
	[CLI_OPTION_NULL] = {"null", NULL, "End rows with a zero byte instead of a newline."},
	[CLI_OPTION_ANNOUNCE] = {"announce", NULL,
				 "Print \"waiting\" once nothing can be missed any more."},
	[CLI_OPTION_HELP] = {"help", NULL, "Explain this command."},
};

bool cli_own_option_fits(enum cli_own_option option, const kp_operation *operation)
{
	if (option == CLI_OPTION_NULL)
		return operation->result == KP_RESULT_ROWS;
	return option != CLI_OPTION_ANNOUNCE || operation->waits || operation->waits_with;
}

const char *cli_option_name(const char *name, char out[CLI_NAME_SIZE])
{
	size_t i = 0;

	for (; name[i] && i + 1 < CLI_NAME_SIZE; i++)
		out[i] = name[i];
	out[i] = '\0';
	for (char *at = strchr(out, '_'); at; at = strchr(at, '_'))
		*at = '-';
	return out;
}

/* `len` bytes of a word against a name; '-' and '_' are one. */
static bool is_name(const char *word, size_t len, const char *name)
{
	if (strlen(name) != len)
		return false;
	for (size_t i = 0; i < len; i++)
		if (word[i] != name[i] && !(word[i] == '-' && name[i] == '_'))
			return false;
	return true;
}

const kp_operation *cli_find_operation(const kp_operation_store *store, const char *verb)
{
	const kp_operation *operation;

	for (size_t i = 0; (operation = kp_operation_at(store, i)); i++)
		if (is_name(verb, strlen(verb), operation->verb) ||
		    (operation->alias && is_name(verb, strlen(verb), operation->alias)))
			return operation;
	return NULL;
}

/* ---------------------------------------------------------------- options */

typedef struct word_list {
	cli_request *request;
	char topic[2 * CLI_NAME_SIZE]; /* "engine set", for help */
	const char *positional[WORDS_MAX];
	size_t count;
} word_list;

static const char **find_input(const kp_input *inputs, size_t count, const char **values,
			       const char *word, size_t len, bool *is_flag)
{
	for (size_t i = 0; i < count; i++) {
		if (is_name(word, len, inputs[i].name)) {
			*is_flag = inputs[i].kind == KP_KIND_BOOLEAN;
			return &values[i];
		}
	}
	return NULL;
}

/* Where an option's value goes; NULL: there is no such option. */
static const char **find_option(cli_request *request, const char *word, size_t len, bool *is_flag)
{
	const kp_operation *operation = request->operation;
	const kp_operation_store *store = request->store;
	const char **found = find_input(operation->inputs, operation->input_count, request->inputs,
					word, len, is_flag);

	if (!found)
		found = find_input(store->settings, store->setting_count, request->settings, word,
				   len, is_flag);
	for (unsigned i = 0; i < CLI_OWN_OPTIONS && !found; i++) {
		if (is_name(word, len, cli_own_options[i].name) &&
		    cli_own_option_fits(i, operation)) {
			*is_flag = !cli_own_options[i].value;
			found = &request->own[i];
		}
	}
	return found;
}

/* Read the option at argv[at]; *used is how many words it took. */
static int read_option(word_list *words, int argc, char **argv, int at, int *used)
{
	const char *word = argv[at] + 2;
	size_t len = strcspn(word, "=");
	bool is_flag = false;
	const char **value = find_option(words->request, word, len, &is_flag);

	*used = 1;
	if (!value)
		return cli_wrong_use(words->topic, "--%.*s: no such option", (int)len, word);
	if (*value)
		return cli_wrong_use(words->topic, "--%.*s: given twice", (int)len, word);
	if (word[len] == '=') {
		*value = word + len + 1;
	} else if (is_flag) {
		*value = "true";
	} else if (at + 1 < argc) {
		*value = argv[at + 1];
		*used = 2;
	} else {
		return cli_wrong_use(words->topic, "--%s: its value is missing", word);
	}
	return CLI_DONE;
}

static int read_words(word_list *words, int argc, char **argv)
{
	bool options = true;

	for (int i = 0; i < argc;) {
		int used = 1, status = CLI_DONE;

		if (options && strcmp(argv[i], "--") == 0)
			options = false;
		else if (options && strncmp(argv[i], "--", 2) == 0)
			status = read_option(words, argc, argv, i, &used);
		else if (options && strcmp(argv[i], "-h") == 0)
			words->request->own[CLI_OPTION_HELP] = "true";
		else if (options && argv[i][0] == '-' && argv[i][1])
			status = cli_wrong_use(words->topic,
					       "%s: no such option; -- before a word that begins "
					       "with -",
					       argv[i]);
		else if (words->count == WORDS_MAX)
			status = cli_wrong_use(words->topic, "'%s': one word too many", argv[i]);
		else
			words->positional[words->count++] = argv[i];
		if (status != CLI_DONE)
			return status;
		i += used;
	}
	return CLI_DONE;
}

/* ---------------------------------------------------------------- words */

static size_t count_places(const kp_operation *operation)
{
	size_t count = 0;

	for (size_t i = 0; i < operation->input_count; i++)
		count += operation->inputs[i].place > 0;
	return count;
}

/* Take HOME from where it stands; *first is the first word after it. */
static int take_place(word_list *words, size_t *first)
{
	cli_request *request = words->request;
	const char *home = getenv("KEEP_HOME");
	const char *word = words->count ? words->positional[0] : NULL;

	*first = 0;
	request->place = request->own[CLI_OPTION_HOME];
	if (request->place)
		return CLI_DONE;
	if (home && !*home)
		home = NULL;
	if (word && (!home || kp_store_of_place(word) || kp_home_is_server(word) ||
		     words->count > count_places(request->operation))) {
		request->place = word;
		*first = 1;
		return CLI_DONE;
	}
	request->place = home;
	return home ? CLI_DONE
		    : cli_wrong_use(words->topic, "HOME: missing, and KEEP_HOME is not set");
}

static size_t input_at_place(const kp_operation *operation, size_t place)
{
	size_t i = 0;

	while (i < operation->input_count && operation->inputs[i].place != place)
		i++;
	return i;
}

static int place_words(word_list *words, size_t first)
{
	cli_request *request = words->request;
	const kp_operation *operation = request->operation;

	for (size_t i = first; i < words->count; i++) {
		size_t at = input_at_place(operation, i - first + 1);

		if (at == operation->input_count)
			return cli_wrong_use(words->topic, "'%s': one word too many",
					     words->positional[i]);
		if (request->inputs[at])
			return cli_wrong_use(words->topic, "%s: given twice",
					     operation->inputs[at].name);
		request->inputs[at] = words->positional[i];
	}
	return CLI_DONE;
}

/* An input without a place that null stands for may be left out; it is null then. */
static int check_missing(const word_list *words)
{
	const cli_request *request = words->request;
	char name[CLI_NAME_SIZE];

	for (size_t i = 0; i < request->operation->input_count; i++) {
		const kp_input *input = &request->operation->inputs[i];

		if (request->inputs[i] || !input->required || input->nullable ||
		    input->place_default)
			continue;
		if (input->place)
			return cli_wrong_use(words->topic, "%s: missing",
					     cli_value_name(input, name));
		return cli_wrong_use(words->topic, "--%s: missing",
				     cli_option_name(input->name, name));
	}
	return CLI_DONE;
}

/* `keep engine batch` without --changes serves JSON lines. */
static bool serves_lines(const cli_request *request)
{
	return request->store == &kp_engine_operations &&
	       strcmp(request->operation->verb, "batch") == 0 && !request->inputs[0];
}

int cli_request_read(cli_request *request, const kp_operation_store *store,
		     const kp_operation *operation, int argc, char **argv)
{
	word_list words = {.request = request};
	size_t first = 0;
	int status;

	*request = (cli_request){.store = store, .operation = operation};
	(void)snprintf(words.topic, sizeof words.topic, "%s %s", store->name, operation->verb);
	status = read_words(&words, argc, argv);
	if (request->own[CLI_OPTION_HELP] || status != CLI_DONE)
		return request->own[CLI_OPTION_HELP] ? CLI_DONE : status;
	status = take_place(&words, &first);
	if (status == CLI_DONE)
		status = place_words(&words, first);
	request->serves_lines = serves_lines(request);
	if (status == CLI_DONE && !request->serves_lines)
		status = check_missing(&words);
	return status;
}
