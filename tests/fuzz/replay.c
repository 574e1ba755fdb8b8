/*
 * Feeds a fuzz target its corpus and then a fixed number of mutations of each
 * seed: no search, but the same inputs in every run, with every compiler and
 * sanitizer, as part of the unit suite.
 *
 *     replay CORPUS-DIR            run
 *     replay CORPUS-DIR OUT-DIR    only write the seeds as libFuzzer wants them
 *
 * Seeds are text, for review: NAME.hex holds hexadecimal bytes with blanks and
 * `#` comments, NAME.txt is taken as it is, without its last newline.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define N_MUTATIONS 3000
#define SEED_MAX    65536

struct seed {
    uint8_t bytes[SEED_MAX + 256];
    size_t len;
};

static struct seed seed, mutant;
static uint64_t random_state;

/* xorshift64: any generator would do, as long as it is the same on every machine. */
static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % n;
}

static void run_exact(const struct seed *s)
{
    uint8_t *copy = malloc(s->len);

    if (!copy)
        abort();
    memcpy(copy, s->bytes, s->len);
    LLVMFuzzerTestOneInput(copy, s->len);
    free(copy);
}

static void insert_bytes(struct seed *s)
{
    size_t at = random_below((uint32_t)s->len + 1), n = 1 + random_below(16);

    if (s->len + n > sizeof(s->bytes))
        return;
    memmove(s->bytes + at + n, s->bytes + at, s->len - at);
    for (size_t i = 0; i < n; i++)
        s->bytes[at + i] = (uint8_t)random_below(256);
    s->len += n;
}

static void remove_bytes(struct seed *s)
{
    size_t at = random_below((uint32_t)s->len), n = 1 + random_below(16);

    if (n > s->len - at)
        n = s->len - at;
    memmove(s->bytes + at, s->bytes + at + n, s->len - at - n);
    s->len -= n;
}

static void mutate_once(struct seed *s)
{
    static const uint8_t edges[] = {0x00, 0x01, 0x03, 0x04, 0x7F, 0x80, 0xFC, 0xFF, '/', ':'};

    if (s->len == 0) {
        insert_bytes(s);
        return;
    }
    switch (random_below(6)) {
    case 0:
        s->bytes[random_below((uint32_t)s->len)] ^= (uint8_t)(1 << random_below(8));
        break;
    case 1:
        s->bytes[random_below((uint32_t)s->len)] = edges[random_below(sizeof(edges))];
        break;
    case 2:
        s->bytes[random_below((uint32_t)s->len)] = (uint8_t)random_below(256);
        break;
    case 3:
        insert_bytes(s);
        break;
    case 4:
        remove_bytes(s);
        break;
    default:
        s->len = random_below((uint32_t)s->len);
        break;
    }
}

static void run_mutants(void)
{
    for (int i = 0; i < N_MUTATIONS; i++) {
        memcpy(mutant.bytes, seed.bytes, seed.len);
        mutant.len = seed.len;
        for (uint32_t n = 1 + random_below(4); n > 0; n--)
            mutate_once(&mutant);
        run_exact(&mutant);
    }
}

static int hex_digit(int c)
{
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

/* Return: false when the file is not what its name promises. */
static bool read_hex(FILE *file, struct seed *s)
{
    int high = -1, c;

    s->len = 0;
    while ((c = getc(file)) != EOF) {
        if (c == '#')
            while (c != '\n' && c != EOF)
                c = getc(file);
        if (isspace(c) || c == EOF)
            continue;
        if (hex_digit(c) < 0 || s->len == SEED_MAX)
            return false;
        if (high < 0) {
            high = hex_digit(c);
            continue;
        }
        s->bytes[s->len++] = (uint8_t)(high << 4 | hex_digit(c));
        high = -1;
    }
    return high < 0;
}

static bool read_text(FILE *file, struct seed *s)
{
    s->len = fread(s->bytes, 1, SEED_MAX, file);
    if (s->len > 0 && s->bytes[s->len - 1] == '\n')
        s->len--;
    return !ferror(file);
}

static bool read_seed(const char *dir, const char *name, struct seed *s)
{
    const char *dot = strrchr(name, '.');
    char path[4096];
    FILE *file;
    bool ok = false;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "r");
    if (!file)
        return false;
    if (dot && strcmp(dot, ".hex") == 0)
        ok = read_hex(file, s);
    else if (dot && strcmp(dot, ".txt") == 0)
        ok = read_text(file, s);
    fclose(file);
    return ok;
}

static bool write_seed(const char *dir, const char *name, const struct seed *s)
{
    char path[4096];
    FILE *file;
    bool ok;

    snprintf(path, sizeof(path), "%s/%s.bin", dir, name);
    file = fopen(path, "w");
    if (!file)
        return false;
    ok = fwrite(s->bytes, 1, s->len, file) == s->len;
    return fclose(file) == 0 && ok;
}

static bool use_seed(const char *dir, const char *name, const char *out_dir)
{
    if (!read_seed(dir, name, &seed)) {
        printf("Bail out! %s/%s cannot be read as a seed\n", dir, name);
        return false;
    }
    if (out_dir)
        return write_seed(out_dir, name, &seed);
    random_state = 0x9E3779B97F4A7C15u; /* per seed: adding a file changes no other's mutants */
    run_exact(&seed);
    run_mutants();
    return true;
}

int main(int argc, char **argv)
{
    const char *out_dir = argc > 2 ? argv[2] : NULL;
    struct dirent **names;
    int n = argc > 1 ? scandir(argv[1], &names, NULL, alphasort) : -1;
    int n_seeds = 0;
    bool ok = n >= 0;

    for (int i = 0; i < n; i++) {
        if (names[i]->d_name[0] != '.') {
            ok = use_seed(argv[1], names[i]->d_name, out_dir) && ok;
            n_seeds++;
        }
        free(names[i]);
    }
    if (n >= 0)
        free(names);
    /* TAP, like the Check programs. Reaching this line is the result; a corpus that is not there
     * must not pass for one that went well. */
    printf("1..1\n%s 1 - %d seeds, %d mutations of each\n", ok && n_seeds > 0 ? "ok" : "not ok",
           n_seeds, N_MUTATIONS);
    return ok && n_seeds > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
