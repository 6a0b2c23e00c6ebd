/* engine_model.c - see engine_model.h. */
#include "engine_model.h"

#include <stdlib.h>
#include <string.h>

/* Any time between the small scores and the large ones that the test uses. */
#define NOW INT64_C(1750000000000)

static void *checked(void *memory)
{
	if (!memory)
		abort();
	return memory;
}

void model_release(model *self)
{
	for (size_t i = 0; i < self->count; i++) {
		free(self->documents[i].path);
		free(self->documents[i].value);
	}
	free(self->documents);
	*self = (model){.count = 0};
}

static model_document *add_document(model *self, const char *path)
{
	if (self->count == self->capacity) {
		self->capacity = self->capacity * 2 + 16;
		self->documents =
			checked(realloc(self->documents, self->capacity * sizeof *self->documents));
	}
	self->documents[self->count] = (model_document){.path = checked(strdup(path))};
	return &self->documents[self->count++];
}

void model_copy(model *to, const model *from)
{
	*to = (model){.last_tie = from->last_tie};
	for (size_t i = 0; i < from->count; i++) {
		model_document *copy = add_document(to, from->documents[i].path);

		copy->value = checked(strdup(from->documents[i].value));
		copy->score = from->documents[i].score;
		copy->tie = from->documents[i].tie;
	}
}

static model_document *find_document(const model *self, const char *path)
{
	for (size_t i = 0; i < self->count; i++) {
		if (strcmp(self->documents[i].path, path) == 0)
			return &self->documents[i];
	}
	return NULL;
}

const char *model_get(const model *self, const char *path)
{
	const model_document *found = find_document(self, path);

	return found ? found->value : NULL;
}

const char *model_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool model_is_below(const char *base, const char *path)
{
	size_t len = strlen(base);

	if (len == 0)
		return path[0] != '\0';
	return strncmp(base, path, len) == 0 && path[len] == '/';
}

static bool is_child(const char *parent, const char *path)
{
	size_t len = strlen(parent);

	return model_is_below(parent, path) && !strchr(path + len + (len > 0), '/');
}

void model_set_scored(model *self, const char *path, const char *value, int64_t score)
{
	model_document *document = find_document(self, path);

	if (!document)
		document = add_document(self, path);
	free(document->value);
	document->value = checked(strdup(value));
	document->score = score;
	document->tie = ++self->last_tie;
}

void model_set(model *self, const char *path, const char *value)
{
	size_t parent_len = (size_t)(model_name(path) - path);
	char *parent = checked(strndup(path, parent_len ? parent_len - 1 : 0));
	int64_t score = NOW;

	for (size_t i = 0; i < self->count; i++) {
		const model_document *other = &self->documents[i];

		if (is_child(parent, other->path) && other->score > score)
			score = other->score;
	}
	free(parent);
	model_set_scored(self, path, value, score);
}

void model_unset(model *self, const char *path)
{
	size_t kept = 0;

	for (size_t i = 0; i < self->count; i++) {
		model_document *document = &self->documents[i];

		if (strcmp(document->path, path) == 0 || model_is_below(path, document->path)) {
			free(document->path);
			free(document->value);
		} else {
			self->documents[kept++] = *document;
		}
	}
	self->count = kept;
}

bool model_compare_and_set(model *self, const char *path, const char *expected, const char *value)
{
	const char *found = model_get(self, path);

	if (!found != !expected || (found && strcmp(found, expected) != 0))
		return false;
	if (value)
		model_set(self, path, value);
	else
		model_unset(self, path);
	return true;
}

static int compare_places(const void *a, const void *b)
{
	const model_document *one = *(const model_document *const *)a;
	const model_document *two = *(const model_document *const *)b;

	if (one->score != two->score)
		return one->score > two->score ? -1 : 1;
	return one->tie > two->tie ? -1 : 1;
}

size_t model_children(const model *self, const char *path, const model_document ***out)
{
	const model_document **found = checked(malloc((self->count + 1) * sizeof *found));
	size_t count = 0;

	for (size_t i = 0; i < self->count; i++) {
		if (is_child(path, self->documents[i].path))
			found[count++] = &self->documents[i];
	}
	qsort(found, count, sizeof *found, compare_places);
	*out = found;
	return count;
}
