/* Finds many rows' leaves in many trees, and sums them up. C99 with the vectors of gcc and clang, no Python: compiled
 * once for all models, called through ctypes.
 *
 * First every cell becomes a rank: how many thresholds of its column lie below it. Then "x <= threshold" is a comparison
 * of whole numbers, exactly as true. The upper part of each tree, 31 questions at most, is answered without walking
 * ("QuickScorer", Lucchese et al., SIGIR 2015; with vectors: "V-QuickScorer", Lucchese et al., SIGIR 2016): a row begins
 * with a bit for each of the 32 exits of that part; each question that is answered with no strikes out the exits on its
 * left; the first bit that is left is the row's exit. All questions are asked of all rows, many rows at a time, without
 * a branch. From exits that are no leaves rows walk on, sixteen abreast, so that while one waits for memory others go on.
 *
 * All indices are sound: `packed.py` makes them from arrays that were checked. Sums are made tree after tree, in the
 * order of the trees, whatever the number of rows.
 */
#include <stdint.h>
#include <stdlib.h>

enum { BLOCK = 64, PAD = 8, ABREAST = 16, ROUND = 4, SET_WORDS = 9, UNKNOWN = 256, FEW = 8 };
enum { MISSING_LEFT, MISSING_RIGHT, CATEGORY };
enum { DONE, TOO_LARGE, NO_MEMORY };

typedef struct { int32_t cell, kind; int64_t first, count; } column;
typedef struct { int32_t column, threshold; uint32_t mask; } question;
typedef struct { int32_t column, threshold, child, leaf; } node;
typedef struct { int32_t question, numbers, categories, exit, depth, output; } tree;

typedef struct {
    const column *columns;
    const double *thresholds;
    const tree *trees;
    const question *questions;
    const int32_t *exits;
    const node *nodes;
    const double *values;
    const uint32_t *sets;
    int64_t column_count, first_category, tree_count, numbers, width, single;
} forest;

typedef struct { const double *x; int64_t row, cell; } matrix; /* strides in numbers */

typedef int32_t narrow __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t wide __attribute__((vector_size(32), aligned(4), may_alias));

#define EXITS(NAME, VECTOR, TARGET)                                                                      \
    TARGET static void NAME(const question *q, int32_t count, const int32_t *ranks, int rows, uint32_t *found) { \
        enum { N = sizeof(VECTOR) / sizeof(int32_t) };                                                   \
        int i = 0;                                                                                       \
        for (; i + 4 * N <= rows; i += 4 * N) {                                                          \
            VECTOR a = (VECTOR){0} == 0, b = a, c = a, d = a;                                            \
            for (int32_t k = 0; k < count; k++) {                                                        \
                const VECTOR *r = (const VECTOR *)(ranks + (int64_t)q[k].column * BLOCK + i);            \
                int32_t threshold = q[k].threshold, mask = (int32_t)q[k].mask;                           \
                a &= (r[0] <= threshold) | mask;                                                         \
                b &= (r[1] <= threshold) | mask;                                                         \
                c &= (r[2] <= threshold) | mask;                                                         \
                d &= (r[3] <= threshold) | mask;                                                         \
            }                                                                                            \
            VECTOR *out = (VECTOR *)(found + i);                                                         \
            out[0] = a, out[1] = b, out[2] = c, out[3] = d;                                              \
        }                                                                                                \
        for (; i < rows; i += N) {                                                                       \
            VECTOR a = (VECTOR){0} == 0;                                                                 \
            for (int32_t k = 0; k < count; k++)                                                          \
                a &= (*(const VECTOR *)(ranks + (int64_t)q[k].column * BLOCK + i) <= q[k].threshold) |   \
                     (int32_t)q[k].mask;                                                                 \
            *(VECTOR *)(found + i) = a;                                                                  \
        }                                                                                                \
    }

typedef void exits_of(const question *, int32_t, const int32_t *, int, uint32_t *);

EXITS(exits_narrow, narrow, )
#ifdef __x86_64__
EXITS(exits_wide, wide, __attribute__((target("avx2"))))
static exits_of *best(void) { return __builtin_cpu_supports("avx2") ? exits_wide : exits_narrow; }
#else
static exits_of *best(void) { return exits_narrow; }
#endif

static inline int left_of_set(const uint32_t *sets, int32_t set, int32_t code) {
    return (sets[(int64_t)set * SET_WORDS + (code >> 5)] >> (code & 31)) & 1;
}

/* How many of the ascending thresholds lie below each value. */
static void ranked(const double *thresholds, int64_t count, const double *x, int rows, int32_t *out) {
    for (int i = 0; i < rows; i++) out[i] = 0;
    if (count <= FEW) {
        for (int64_t k = 0; k < count; k++)
            for (int i = 0; i < rows; i++) out[i] += thresholds[k] < x[i];
        return;
    }
    for (int32_t length = (int32_t)count; length > 1; length -= length / 2) {
        int32_t half = length / 2;
        for (int i = 0; i < rows; i++) out[i] += thresholds[out[i] + half - 1] < x[i] ? half : 0;
    }
    for (int i = 0; i < rows; i++) out[i] += thresholds[out[i]] < x[i];
}

static void rank_columns(const forest *f, matrix m, int rows, int padded, int32_t *ranks) {
    double x[BLOCK];
    for (int64_t c = 0; c < f->column_count; c++) {
        const column *from = f->columns + c;
        int32_t *out = ranks + c * BLOCK;
        if (!c || from->cell != from[-1].cell || from->kind == CATEGORY) {
            const double *given = m.x + from->cell * m.cell;
            for (int i = 0; i < padded; i++) x[i] = i < rows ? given[i * m.row] : 0.0;
            if (f->single)
                for (int i = 0; i < padded; i++) x[i] = (double)(float)x[i];
            if (from->kind != CATEGORY) ranked(f->thresholds + from->first, from->count, x, padded, out);
        } else {
            for (int i = 0; i < padded; i++) out[i] = out[i - BLOCK]; /* the same cell, where missing goes left */
        }
        if (from->kind == CATEGORY)
            for (int i = 0; i < padded; i++) out[i] = x[i] >= 0 && x[i] < UNKNOWN ? (int32_t)x[i] : UNKNOWN;
        else if (from->kind == MISSING_RIGHT)
            for (int i = 0; i < padded; i++) out[i] = x[i] != x[i] ? (int32_t)from->count : out[i];
    }
}

#define WALK(ROWS, LEFT)                                                       \
    do {                                                                       \
        for (int32_t left = t->depth; left > 0; left -= ROUND) {               \
            int32_t moved = 0;                                                 \
            for (int step = left < ROUND ? left : ROUND; step > 0; step--) {   \
                moved = 0;                                                     \
                for (int i = 0; i < (ROWS); i++) {                             \
                    const node *n = f->nodes + at[i];                          \
                    int32_t rank = r[(int64_t)n->column * BLOCK + i];          \
                    int32_t next = n->child + !(LEFT);                         \
                    moved |= next ^ at[i];                                     \
                    at[i] = next;                                              \
                }                                                              \
            }                                                                  \
            if (!moved) break;                                                 \
        }                                                                      \
    } while (0)

/* A leaf is its own child, and its question is always answered with yes. */
static void walk(const forest *f, const tree *t, const int32_t *r, int some, int32_t *at) {
    if (f->first_category < f->column_count)
        WALK(some, n->column < f->first_category ? rank <= n->threshold : left_of_set(f->sets, n->threshold, rank));
    else if (some == ABREAST)
        WALK(ABREAST, rank <= n->threshold);
    else
        WALK(some, rank <= n->threshold);
    for (int i = 0; i < some; i++) at[i] = f->nodes[at[i]].leaf;
}

#define ADD(NUMBERS)                                                           \
    for (int i = 0; i < rows; i++)                                             \
        for (int64_t k = 0; k < (NUMBERS); k++) out[i * outputs + k] += values[leaf[i] * (NUMBERS) + k]

static void add(const double *restrict values, int64_t numbers, const int32_t *restrict leaf, int rows,
                double *restrict out, int64_t outputs) {
    if (numbers == 1)
        ADD(1);
    else if (numbers == 2)
        ADD(2);
    else
        ADD(numbers);
}

static int too_large(const forest *f, matrix m, int rows) {
    int found = 0;
    for (int64_t c = 0; c < f->width; c++)
        for (int i = 0; i < rows; i++) {
            float x = (float)m.x[i * m.row + c * m.cell];
            found |= x == x && x - x != 0; /* infinite */
        }
    return found;
}

int mlauto_sum_leaves(const forest *f, const double *x, int64_t rows, int64_t row, int64_t cell, double *out,
                      int64_t outputs) {
    exits_of *exits = best();
    int32_t *memory = malloc((size_t)f->column_count * BLOCK * sizeof(int32_t) + 64);
    if (!memory) return NO_MEMORY;
    int32_t *ranks = (int32_t *)(((uintptr_t)memory + 63) & ~(uintptr_t)63);
    int bad = 0;
    for (int64_t first = 0; first < rows && !bad; first += BLOCK, x += BLOCK * row, out += BLOCK * outputs) {
        int some = rows - first < BLOCK ? (int)(rows - first) : BLOCK, padded = (some + PAD - 1) / PAD * PAD;
        matrix m = {x, row, cell};
        if (f->single && too_large(f, m, some)) bad = 1;
        rank_columns(f, m, some, padded, ranks);
        for (const tree *t = f->trees; t < f->trees + f->tree_count; t++) {
            uint32_t found[BLOCK];
            int32_t at[BLOCK];
            const question *q = f->questions + t->question;
            exits(q, t->numbers, ranks, padded, found);
            q += t->numbers;
            for (int32_t k = 0; k < t->categories; k++)
                for (int i = 0; i < some; i++)
                    if (!left_of_set(f->sets, q[k].threshold, ranks[(int64_t)q[k].column * BLOCK + i]))
                        found[i] &= q[k].mask;
            for (int i = 0; i < some; i++) at[i] = f->exits[t->exit + __builtin_ctz(found[i])];
            if (t->depth)
                for (int i = 0; i < some; i += ABREAST)
                    walk(f, t, ranks + i, some - i < ABREAST ? some - i : ABREAST, at + i);
            add(f->values, f->numbers, at, some, out + t->output, outputs);
        }
    }
    free(memory);
    return bad ? TOO_LARGE : DONE;
}
