/*
 * token_rules.c - what each character is to a search: part of a word, a token by itself, nothing.
 *
 * A character is decomposed (NFKD) and folded by libutf8proc, and its parts are looked at:
 *   1. Letters and digits are parts of words; case, width and form are gone: ß is ss, ﬁ is fi, ² is
 *      2. Letters with a stroke and ligatures that Unicode does not take apart (ø ł đ ħ ŧ ı æ œ)
 * are taken apart here. Digits of other scripts stay what they are.
 *   2. Marks above, below and in letters are dropped where they are an accent, a breathing, a point
 *      or a vowel that is mostly not written: Latin, Greek, Cyrillic (й is и), Hebrew, Arabic (أ is
 *      ا, the tatweel goes too), Syriac, symbols. Marks that are half of the writing stay: vowels
 *      and viramas of India and its neighbours, the voicing of kana.
 *   3. Scripts that are written without blanks give a token for each character: Han, kana,
 *      bopomofo, Hangul, Yi, Thai, Lao, Khmer, Burmese, Tai, Javanese, Balinese. Hangul is in whole
 *      syllables and kana with its voicing, however it was written.
 *   4. Emoji are tokens. Skin colours, joiners, variation selectors and tags are dropped, so a
 *      family is its members in a row. Two regional indicators are one token: a flag. A keycap is
 *      its digit. © ™ and what lies below arrows are none.
 *   5. Everything else is a break: blanks, punctuation, apostrophes of every kind (don't is "don
 *      t", l'école is found by école), the underscore, currency, mathematics, private characters,
 *      and what this libutf8proc does not know.
 *   6. Soft hyphens, joiners and other invisible characters are as if they were not there; only a
 *      blank of no width is a blank.
 *   7. A part is never an ASCII capital, and never ASCII other than 0-9 and a-z unless a break.
 *
 * A change of these rules raises KP_TEXT_RULES_VERSION: indexes are made anew.
 *
 * What it does not do: stems, synonyms, words of scripts without blanks, languages.
 *
 * Tests: tests/unit/test_tokens.c.
 */
#include "search/text_private.h"

#include <utf8proc.h>

typedef struct code_range {
	int32_t first, last;
} code_range;

/* Rule 2: marks that are dropped. Sorted. */
static const code_range dropped_marks[] = {
	{0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05c7}, {0x0610, 0x061a}, {0x0640, 0x0640},
	{0x064b, 0x065f}, {0x0670, 0x0670}, {0x06d6, 0x06ed}, {0x0711, 0x0711}, {0x0730, 0x074a},
	{0x08ca, 0x08ff}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x20d0, 0x20ff}, {0x2de0, 0x2dff},
	{0xa66f, 0xa67d}, {0xa69e, 0xa69f}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f},
};

/* Rule 3. Sorted. */
static const code_range without_blanks[] = {
	{0x0e00, 0x0eff},   {0x1000, 0x109f},   {0x1100, 0x11ff},   {0x1780, 0x17ff},
	{0x1950, 0x19ff},   {0x1a20, 0x1aaf},   {0x1b00, 0x1b7f},   {0x2e80, 0x2fdf},
	{0x3005, 0x3007},   {0x3021, 0x302f},   {0x3031, 0x3035},   {0x3038, 0x303c},
	{0x3041, 0x3096},   {0x3099, 0x309f},   {0x30a1, 0x30fa},   {0x30fc, 0x30ff},
	{0x3105, 0x312f},   {0x3131, 0x318e},   {0x31a0, 0x31bf},   {0x31f0, 0x31ff},
	{0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},   {0xa960, 0xa97f},
	{0xa980, 0xa9ff},   {0xaa60, 0xaadf},   {0xac00, 0xd7ff},   {0xf900, 0xfaff},
	{0x16fe0, 0x18dff}, {0x1aff0, 0x1b2ff}, {0x20000, 0x3ffff},
};

static bool is_in(const code_range *ranges, size_t count, int32_t code)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (code > ranges[middle].last)
			low = middle + 1;
		else
			high = middle;
	}
	return low < count && code >= ranges[low].first;
}

static bool is_mark(utf8proc_category_t category)
{
	return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
	       category == UTF8PROC_CATEGORY_ME;
}

static bool is_word_part(utf8proc_category_t category)
{
	switch (category) {
	case UTF8PROC_CATEGORY_LU:
	case UTF8PROC_CATEGORY_LL:
	case UTF8PROC_CATEGORY_LT:
	case UTF8PROC_CATEGORY_LM:
	case UTF8PROC_CATEGORY_LO:
	case UTF8PROC_CATEGORY_ND:
	case UTF8PROC_CATEGORY_NL:
	case UTF8PROC_CATEGORY_NO: return true;
	default: return false;
	}
}

kp_letter kp_letter_of(int32_t part)
{
	const utf8proc_property_t *property;
	utf8proc_category_t category;

	if (part < 0x80) {
		bool is_word = (part >= '0' && part <= '9') || (part >= 'a' && part <= 'z');

		return is_word ? KP_LETTER_WORD : KP_LETTER_BREAK;
	}
	property = utf8proc_get_property(part);
	category = (utf8proc_category_t)property->category;
	if (part >= 0x1f1e6 && part <= 0x1f1ff)
		return KP_LETTER_FLAG;
	if (part >= 0x2190 && property->boundclass == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC)
		return KP_LETTER_SINGLE;
	if (!is_mark(category) && !is_word_part(category))
		return KP_LETTER_BREAK;
	if (is_in(without_blanks, KP_COUNT(without_blanks), part))
		return KP_LETTER_SINGLE;
	if (is_mark(category))
		return KP_LETTER_MARK;
	/* Modifier letters that are typed as apostrophes and primes. */
	return part >= 0x02b9 && part <= 0x02c1 ? KP_LETTER_BREAK : KP_LETTER_WORD;
}

/* Rule 1's own letters; 0: none. The second part is 0 where there is one. */
static int32_t take_apart(int32_t code, int32_t *second)
{
	*second = 0;
	switch (code) {
	case 0x00e6: *second = 'e'; return 'a';
	case 0x0153: *second = 'e'; return 'o';
	case 0x00f8: return 'o';
	case 0x0111: return 'd';
	case 0x0127: return 'h';
	case 0x0131: return 'i';
	case 0x0142: return 'l';
	case 0x0167: return 't';
	default: return 0;
	}
}

static bool is_dropped(int32_t part)
{
	return (part >= 0x1f3fb && part <= 0x1f3ff) || /* skin colours */
	       (is_in(dropped_marks, KP_COUNT(dropped_marks), part) &&
		(part == 0x0640 ||
		 is_mark((utf8proc_category_t)utf8proc_get_property(part)->category)));
}

size_t kp_letter_parts(int32_t code, int32_t parts[KP_LETTER_PARTS_MAX])
{
	int32_t whole[KP_LETTER_PARTS_MAX];
	utf8proc_ssize_t count;
	size_t kept = 0;
	int boundary = UTF8PROC_BOUNDCLASS_START;

	if ((code >= 0x4e00 && code <= 0x9fff) || (code >= 0xac00 && code <= 0xd7a3)) {
		parts[0] = code;
		return 1;
	}
	if (code == 0x200b) { /* rule 6 */
		parts[0] = ' ';
		return 1;
	}
	count = utf8proc_decompose_char(code, whole, KP_LETTER_PARTS_MAX,
					UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD |
						UTF8PROC_IGNORE,
					&boundary);
	/* The longest decomposition of Unicode has 18 parts. */
	for (utf8proc_ssize_t i = 0; i < count && i < KP_LETTER_PARTS_MAX; i++) {
		int32_t second, first = take_apart(whole[i], &second);

		if (is_dropped(whole[i]))
			continue;
		parts[kept++] = first ? first : whole[i];
		if (second && kept < KP_LETTER_PARTS_MAX)
			parts[kept++] = second;
		if (kept == KP_LETTER_PARTS_MAX)
			break;
	}
	for (size_t i = 0; i < kept; i++) {
		if (parts[i] >= 'A' && parts[i] <= 'Z')
			parts[i] += 'a' - 'A';
	}
	return kept;
}

int32_t kp_letter_compose(int32_t first, int32_t second)
{
	int32_t pair[2] = {first, second};

	return utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) == 1 ? pair[0]
											  : 0;
}

size_t kp_letters_compose(int32_t *codes, size_t count)
{
	utf8proc_ssize_t composed;

	for (size_t i = 1; i < count; i++) {
		int32_t code = codes[i];
		int order = utf8proc_get_property(code)->combining_class;
		size_t at = i;

		while (order && at > 0 &&
		       utf8proc_get_property(codes[at - 1])->combining_class > order) {
			codes[at] = codes[at - 1];
			at--;
		}
		codes[at] = code;
	}
	composed = utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)count,
					    UTF8PROC_COMPOSE | UTF8PROC_STABLE);
	return composed < 0 ? count : (size_t)composed;
}

size_t kp_letter_encode(int32_t code, char out[4])
{
	return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)out);
}

int32_t kp_letter_decode(const char *text, size_t width)
{
	const unsigned char *at = (const unsigned char *)text;

	switch (width) {
	case 1: return at[0];
	case 2: return (at[0] & 0x1f) << 6 | (at[1] & 0x3f);
	case 3: return (at[0] & 0x0f) << 12 | (at[1] & 0x3f) << 6 | (at[2] & 0x3f);
	default:
		return (at[0] & 0x07) << 18 | (at[1] & 0x3f) << 12 | (at[2] & 0x3f) << 6 |
		       (at[3] & 0x3f);
	}
}
