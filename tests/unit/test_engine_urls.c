/*
 * test_engine_urls.c - the URLs of the SQL backends: their parts, which two mean one namespace, and
 * what messages do not show.
 */
#include "engine/engine_postgres.h"
#include "engine/engine_sqlite.h"
#include "keep_test.h"
#include "temp_folder.h"

#include <sys/stat.h>

/* ---------------------------------------------------------------- postgres: the parts */

static void want_parts(const char *url, const char *conninfo, const char *schema, const char *name)
{
	kp_postgres_url parts;
	keep_error err = KEEP_ERROR_INIT;

	OK(kp_postgres_url_read(url, "engine", &parts, &err));
	assert_string_equal(parts.conninfo, conninfo);
	assert_string_equal(parts.schema, schema);
	assert_string_equal(parts.name, name);
	kp_postgres_url_release(&parts);
	assert_nothing_lives();
}

static void schema_and_namespace_are_cut_out_and_decoded(void **state)
{
	(void)state;
	want_parts("postgres://h/d", "postgres://h/d", "engine", "default");
	want_parts("postgres://h/d?", "postgres://h/d", "engine", "default");
	want_parts("postgres://h/d?schema=s&namespace=n", "postgres://h/d", "s", "n");
	want_parts("postgres://h/d?namespace=n&schema=s", "postgres://h/d", "s", "n");
	want_parts("postgres://h/d?sslmode=require&schema=s", "postgres://h/d?sslmode=require", "s",
		   "default");
	want_parts("postgres://h/d?schema=s&host=/a&&port=1&namespace=n",
		   "postgres://h/d?host=/a&port=1", "s", "n");
	want_parts("postgres:///?namespace=%2F%20%25%26%3D%C3%A9", "postgres:///", "engine",
		   "/ %&=\xc3\xa9");
	want_parts("postgres://h/d?namespace=a+b=c", "postgres://h/d", "engine", "a+b=c");
	want_parts("postgres://h/d?namespaces=x&Schema=y", "postgres://h/d?namespaces=x&Schema=y",
		   "engine", "default");
	/* The last one counts. */
	want_parts("postgres://h/d?schema=a&schema=b", "postgres://h/d", "b", "default");
}

static void want_invalid(const char *url)
{
	kp_postgres_url parts;
	keep_error err = KEEP_ERROR_INIT;
	keep_status status = kp_postgres_url_read(url, "engine", &parts, &err);

	CHECK(status == KEEP_INVALID, "%s: %s", url, keep_status_name(status));
	assert_null(parts.conninfo);
	assert_null(parts.schema);
	assert_null(parts.name);
	CHECK(!strstr(err.message, "S3cret"), "%s", err.message);
	assert_nothing_lives();
}

static void hostile_escapes_are_refused(void **state)
{
	static const char *const values[] = {
		"",    "%",   "%2",        "%zz", "%2g", "x%",  "x%4",    "%%41", "%00",  "a%00b",
		"%ff", "%c3", "%ed%a0%80", "%+1", "% 1", "%-1", "%c0%af", "%0x",  "\x80", "a%u0041",
	};
	char url[400], name[320];

	(void)state;
	for (size_t i = 0; i < KP_COUNT(values); i++) {
		snprintf(url, sizeof url, "postgres://u:S3cret@h/d?schema=%s", values[i]);
		want_invalid(url);
		snprintf(url, sizeof url, "postgres://u:S3cret@h/d?namespace=%s&port=1", values[i]);
		want_invalid(url);
		snprintf(url, sizeof url, "postgres://u:S3cret@h/d?namespace=ok&namespace=%s",
			 values[i]);
		want_invalid(url);
	}
	memset(name, 'n', sizeof name);
	name[256] = '\0';
	snprintf(url, sizeof url, "postgres://u:S3cret@h/d?namespace=%s", name);
	want_invalid(url);
	url[strlen(url) - 1] = '\0';
	name[255] = '\0';
	want_parts(url, "postgres://u:S3cret@h/d", "engine", name);
	name[64] = '\0';
	snprintf(url, sizeof url, "postgres://u:S3cret@h/d?schema=%s", name);
	want_invalid(url);
}

/* ---------------------------------------------------------------- postgres: identity */

/* The caller frees it. */
static char *identity_of(const char *url)
{
	keep_error err = KEEP_ERROR_INIT;
	char *identity = NULL;

	OK(kp_engine_postgres_identify(url, &identity, &err));
	CHECK(!strstr(identity, "S3cret") && !strstr(identity, "S3cr%65t"), "%s", identity);
	return identity;
}

static void want_same(const char *one, const char *other, bool same)
{
	char *first = identity_of(one), *second = identity_of(other);

	CHECK((strcmp(first, second) == 0) == same, "%s is '%s' and %s is '%s'", one, first, other,
	      second);
	kp_free(first);
	kp_free(second);
	assert_nothing_lives();
}

static void two_spellings_of_one_namespace_are_the_same(void **state)
{
	static const char *const spellings[] = {
		"postgresql://h/d",
		"postgres://h:5432/d",
		"postgres://H/d",
		"postgres:///d?host=h",
		"postgres:///d?port=5432&host=h",
		"postgres://h/?dbname=d",
		"postgres://other:S3cret@h/d",
		"postgres://other:S3cr%65t@h/d?sslmode=require",
		"postgres://h/d?schema=engine",
		"postgres://h/d?namespace=default&application_name=x",
		"postgres://h/d?namespace=%64efault&schema=%65ngine",
		"postgres://%68/%64",
		"postgres://h/d?password=S3cret",
	};

	(void)state;
	unsetenv("PGPORT");
	unsetenv("PGHOST");
	for (size_t i = 0; i < KP_COUNT(spellings); i++)
		want_same("postgres://h/d", spellings[i], true);
	want_same("postgres://u@h", "postgres://u@h/u", true);
	want_same("postgres:///d?host=/run/a", "postgres://%2Frun%2Fa/d", true);
	setenv("PGPORT", "6000", 1);
	want_same("postgres://h/d", "postgres://h:6000/d", true);
	unsetenv("PGPORT");
}

static void two_namespaces_are_never_the_same(void **state)
{
	(void)state;
	want_same("postgres://h/d", "postgres://g/d", false);
	want_same("postgres://h/d", "postgres://h/D", false);
	want_same("postgres://h/d", "postgres://h:5433/d", false);
	want_same("postgres://h/d", "postgres://h/d?schema=other", false);
	want_same("postgres://h/d", "postgres://h/d?namespace=other", false);
	want_same("postgres://h/d?namespace=a", "postgres://h/d?namespace=A", false);
	want_same("postgres:///d?host=/run/a", "postgres:///d?host=/run/A", false);
	/* What separates the parts may be in them. */
	want_same("postgres://h/d?schema=a&namespace=b%2Fc",
		  "postgres://h/d?schema=a%2Fb&namespace=c", false);
	want_same("postgres://h/d%20a?schema=b", "postgres://h/d?schema=a%20b", false);
	want_same("postgres://h/d%2Fe?schema=a", "postgres://h/d%252Fe?schema=a", false);
	want_same("postgres://h/d?schema=a%25", "postgres://h/d?schema=a%2525", false);
}

static void what_libpq_cannot_read_is_invalid_and_not_shown(void **state)
{
	static const char *const urls[] = {
		"postgres://u:S3cret@h:port:x/d?nonsense=1",
		"postgres://u:S3cret@[::1/d",
		"postgres://u:S3cret%zz@h/d",
		"postgres://u:S3cret@h/d?password=%00",
		"postgres://u:S3cret@h/d?S3cret",
		"postgres://u@h/d?pass=S3cret",
	};

	(void)state;
	for (size_t i = 0; i < KP_COUNT(urls); i++) {
		keep_error err = KEEP_ERROR_INIT;
		keep_engine *engine = NULL;
		char *identity = NULL;
		keep_status status = kp_engine_postgres_identify(urls[i], &identity, &err);

		CHECK(status == KEEP_INVALID, "%s: %s", urls[i], keep_status_name(status));
		assert_null(identity);
		CHECK(!strstr(err.message, "S3cret"), "%s", err.message);
		assert_int_equal(keep_engine_open(urls[i], NULL, &engine, &err), KEEP_INVALID);
		CHECK(!strstr(err.message, "S3cret"), "%s", err.message);
	}
	assert_nothing_lives();
}

/* ---------------------------------------------------------------- sqlite */

static keep_status open_url(const char *format, const char *folder, bool shared, keep_engine **out,
			    keep_error *err)
{
	keep_engine_options options = KEEP_ENGINE_OPTIONS_INIT;
	const char *rest = strstr(format, "{}");
	char url[300];

	options.create = true;
	options.shared = shared;
	if (rest)
		snprintf(url, sizeof url, "%.*s%s%s", (int)(rest - format), format, folder,
			 rest + 2);
	else
		snprintf(url, sizeof url, "%s", format);
	return keep_engine_open(url, &options, out, err);
}

static void a_file_is_one_namespace_by_whatever_name(void **state)
{
	static const char *const spellings[] = {
		"sqlite:{}/store",        "sqlite:{}//store", "sqlite:{}/./store",
		"sqlite:{}/sub/../store", "sqlite:{}/link",   "sqlite:{}/linked/store",
		"sqlite:store",           "sqlite:./store",   "sqlite:{}/hop",
		"sqlite:{}/far",          "sqlite:hop",
	};
	temp_folder folder;
	char target[128], link[128], before[200];
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	assert_int_equal(mkdir(temp_path(&folder, "sub", target), 0700), 0);
	assert_int_equal(symlink("store", temp_path(&folder, "link", link)), 0);
	assert_int_equal(
		symlink(temp_path(&folder, "link", target), temp_path(&folder, "sub/far", link)),
		0);
	assert_int_equal(symlink("sub/far", temp_path(&folder, "far", link)), 0);
	assert_int_equal(symlink("sub/../link", temp_path(&folder, "hop", link)), 0);
	assert_int_equal(symlink(".", temp_path(&folder, "linked", link)), 0);
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(folder.path), 0);
	for (size_t i = 0; i < KP_COUNT(spellings); i++) {
		for (size_t j = 0; j < KP_COUNT(spellings); j++) {
			keep_engine *first = NULL, *second = NULL, *other = NULL;

			/* The file is made by each of its names, too. */
			(void)unlink(temp_path(&folder, "store", target));
			OK(open_url(spellings[i], folder.path, false, &first, &err));
			CHECK(open_url(spellings[j], folder.path, false, &second, &err) ==
				      KEEP_CONFLICT,
			      "%s and %s", spellings[i], spellings[j]);
			assert_null(second);
			OK(open_url(spellings[j], folder.path, true, &second, &err));
			OK(open_url("sqlite:{}/store2", folder.path, false, &other, &err));
			keep_engine_close(&other);
			keep_engine_close(&second);
			keep_engine_close(&first);
		}
	}
	assert_int_equal(chdir(before), 0);
	temp_folder_remove(&folder);
	assert_nothing_lives();
}

static void a_file_name_is_never_a_uri_or_a_setting(void **state)
{
	static const char *const names[] = {
		"file:x?mode=memory", ":memory:", "a?b=c", "a#b", "%41", " ", "a b", "-wal",
		"\xc3\xa9",
	};
	temp_folder folder;
	keep_error err = KEEP_ERROR_INIT;

	(void)state;
	temp_folder_make(&folder);
	for (size_t i = 0; i < KP_COUNT(names); i++) {
		char url[200], path[200];
		keep_engine *engine = NULL;
		struct stat st;

		snprintf(url, sizeof url, "sqlite:{}/%s", names[i]);
		OK(open_url(url, folder.path, false, &engine, &err));
		keep_engine_close(&engine);
		snprintf(path, sizeof path, "%s/%s", folder.path, names[i]);
		CHECK(stat(path, &st) == 0 && S_ISREG(st.st_mode), "%s was not made", path);
	}
	temp_folder_remove(&folder);
}

static void a_file_that_cannot_be_named_gets_a_true_status(void **state)
{
	keep_error err = KEEP_ERROR_INIT;
	keep_engine *engine = NULL;
	char url[5000] = "sqlite:/tmp/", link[128];
	temp_folder folder;

	(void)state;
	temp_folder_make(&folder);
	assert_int_equal(keep_engine_open("sqlite:", NULL, &engine, &err), KEEP_INVALID);
	assert_int_equal(keep_engine_open("sqlite:/no/such/folder/x", NULL, &engine, &err),
			 KEEP_NOT_FOUND);
	assert_int_equal(keep_engine_open("sqlite:/dev/null", NULL, &engine, &err), KEEP_INVALID);
	assert_int_equal(symlink("round", temp_path(&folder, "round", link)), 0);
	assert_int_equal(open_url("sqlite:{}/round", folder.path, false, &engine, &err),
			 KEEP_DENIED);
	temp_folder_remove(&folder);
	assert_int_equal(keep_engine_open("sqlite:/tmp/", NULL, &engine, &err), KEEP_INVALID);
	memset(url + strlen(url), 'x', 300);
	CHECK(keep_engine_open(url, NULL, &engine, &err) == KEEP_INVALID, "%s",
	      keep_status_name(err.status));
	memset(url + strlen("sqlite:/tmp/"), 'x', sizeof url - strlen("sqlite:/tmp/") - 1);
	CHECK(keep_engine_open(url, NULL, &engine, &err) == KEEP_INVALID, "%s",
	      keep_status_name(err.status));
	assert_null(engine);
	assert_nothing_lives();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schema_and_namespace_are_cut_out_and_decoded),
		cmocka_unit_test(hostile_escapes_are_refused),
		cmocka_unit_test(two_spellings_of_one_namespace_are_the_same),
		cmocka_unit_test(two_namespaces_are_never_the_same),
		cmocka_unit_test(what_libpq_cannot_read_is_invalid_and_not_shown),
		cmocka_unit_test(a_file_is_one_namespace_by_whatever_name),
		cmocka_unit_test(a_file_name_is_never_a_uri_or_a_setting),
		cmocka_unit_test(a_file_that_cannot_be_named_gets_a_true_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
