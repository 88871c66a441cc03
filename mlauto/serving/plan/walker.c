/* Walks many rows down many trees. Plain C99, no Python: compiled once for all models, called through ctypes.
 *
 * A node is a leaf (its value in `threshold`, or the row of its values), a question "x <= threshold", or a question "is
 * the category x in the bit set number `threshold`". All indices were checked when the plan was read: children come
 * after their parents, within their tree, and both children of a leaf are the leaf itself. Eight rows walk abreast
 * until all have arrived, without a branch that depends on a value: while one waits for memory, others go on. A row's
 * sums are made tree after tree, in the order of the trees, whatever the number of rows.
 */
#include <stdint.h>

enum { LEAF = 1, MISSING_LEFT = 2, CATEGORY = 4, ABREAST = 8, CHUNK = 256, WORDS = 8 };

typedef struct {
    double threshold;
    int32_t child[2], feature;
    uint32_t flags;
} node;

static inline uint32_t has(const uint32_t *set, uint32_t bit) { return (set[bit >> 5] >> (bit & 31)) & 1; }

static inline uint32_t missing_left(const node *n) { return (n->flags / MISSING_LEFT) & 1; }

/* As scikit-learn's boosted trees ask: what is negative or was never seen counts as missing. */
static uint32_t category_left(const node *n, const uint32_t *sets, double x) {
    const uint32_t *left = sets + (int64_t)n->threshold * 2 * WORDS;
    if (x >= 0 && x < 32 * WORDS) {
        uint32_t code = (uint32_t)x;
        if (has(left, code)) return 1;
        if (has(left + WORDS, code)) return 0;
    }
    return missing_left(n);
}

static inline uint32_t goes_left(const node *n, double x) {
    return (uint32_t)(x <= n->threshold) | ((uint32_t)(x != x) & missing_left(n));
}

#define WALK(ROWS, LEFT)                                                      \
    do {                                                                      \
        uint32_t arrived;                                                     \
        do {                                                                  \
            arrived = LEAF;                                                   \
            for (int i = 0; i < (ROWS); i++) {                                \
                const node *n = nodes + at[i];                                \
                double value = x[(first + i) * width + n->feature];           \
                arrived &= n->flags;                                          \
                at[i] = n->child[(LEFT) ^ 1];                                 \
            }                                                                 \
        } while (!arrived);                                                   \
    } while (0)

void mlauto_walk(const node *nodes, const int64_t *roots, const int32_t *outputs_of, int64_t trees,
                 const double *values, int64_t depth, const uint32_t *sets, int64_t categories, const double *x,
                 int64_t rows, int64_t width, double *out, int64_t outputs) {
    for (int64_t chunk = 0; chunk < rows; chunk += CHUNK) {
        int64_t end = chunk + CHUNK < rows ? chunk + CHUNK : rows;
        for (int64_t t = 0; t < trees; t++) {
            for (int64_t first = chunk; first < end; first += ABREAST) {
                int some = end - first < ABREAST ? (int)(end - first) : ABREAST;
                int32_t at[ABREAST];
                for (int i = 0; i < ABREAST; i++) at[i] = (int32_t)roots[t];
                if (categories)
                    WALK(some, n->flags & CATEGORY ? category_left(n, sets, value) : goes_left(n, value));
                else if (some == ABREAST)
                    WALK(ABREAST, goes_left(n, value));
                else
                    WALK(some, goes_left(n, value));
                for (int i = 0; i < some; i++) {
                    double *sum = out + (first + i) * outputs + outputs_of[t];
                    double found = nodes[at[i]].threshold;
                    if (depth == 1)
                        sum[0] += found;
                    else
                        for (int64_t k = 0; k < depth; k++) sum[k] += values[(int64_t)found * depth + k];
                }
            }
        }
    }
}
