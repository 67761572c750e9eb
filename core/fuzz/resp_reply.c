/* The reader of Redis replies. Further: no part of a token is one, a token needs no byte behind it,
 * and what is written again is read as the same. */
#include "fuzz.h"
#include "resp.h"

static int read_prefix(const char *data, size_t len, struct ln_resp_token *token,
                       size_t *consumed) {
    const char *error = NULL;
    char *copy = fuzz_copy(data, len);
    int rc = ln_resp_read_token(copy + 1, len, token, consumed, &error);
    FUZZ_CHECK((rc < 0) == (error != NULL));
    FUZZ_CHECK(rc != 1 || *consumed <= len);
    fuzz_drop(copy);
    return rc;
}

static int write_again(struct ln_buffer *b, const struct ln_resp_token *t) {
    switch (t->type) {
    case '+':
        return ln_resp_put_status(b, t->text, t->len);
    case '-':
        return ln_resp_put_error(b, t->text, t->len);
    case ':':
        return ln_resp_put_integer(b, t->integer);
    case '$':
        return t->null ? ln_resp_put_null(b, 2) : ln_resp_put_bulk(b, t->text, t->len);
    case '#':
        return ln_resp_put_boolean(b, t->integer, 3);
    case ',':
        return ln_resp_put_double(b, t->number, 3);
    case '_':
        return ln_resp_put_null(b, 3);
    case '*':
        return t->null ? ln_resp_put_null_array(b, 2) : ln_resp_put_array(b, (size_t)t->integer);
    case '~':
        return ln_resp_put_set(b, (size_t)t->integer, 3);
    case '>':
        return ln_resp_put_push(b, (size_t)t->integer, 3);
    case '%':
        return ln_resp_put_map(b, (size_t)t->integer / 2, 3);
    default:
        return 1; /* nothing here writes it */
    }
}

static bool same_number(double a, double b) {
    return a == b || (a != a && b != b);
}

/* A line may hold a line feed alone, which is written as a blank. */
static bool same_text(const struct ln_resp_token *a, const struct ln_resp_token *b) {
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (a->text[i] != b->text[i] && !(a->text[i] == '\n' && b->text[i] == ' '))
            return false;
    return true;
}

static void check_again(const struct ln_resp_token *t) {
    struct ln_resp_token again = {0};
    const char *error = NULL;
    struct ln_buffer b;
    size_t consumed = 0;
    ln_buffer_init(&b);
    if (write_again(&b, t) == 0) {
        FUZZ_CHECK(ln_resp_read_token(ln_buffer_data(&b), ln_buffer_len(&b), &again, &consumed,
                                      &error) == 1);
        FUZZ_CHECK(consumed == ln_buffer_len(&b));
        FUZZ_CHECK(again.type == t->type && again.null == t->null && again.integer == t->integer);
        FUZZ_CHECK(same_number(again.number, t->number));
        FUZZ_CHECK(!strchr("+-$", t->type) || t->null || same_text(t, &again));
    }
    ln_buffer_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
    const char *data = (const char *)input;
    const char *error = NULL;
    size_t used = 0, consumed = 0;
    struct ln_resp_token token;
    int rc = 1;
    while ((rc = ln_resp_read_token(data + used, size - used, &token, &consumed, &error)) == 1) {
        struct ln_resp_token other;
        size_t n = 0;
        FUZZ_CHECK(consumed > 0 && consumed <= size - used);
        FUZZ_CHECK(read_prefix(data + used, consumed, &other, &n) == 1 && n == consumed);
        for (size_t i = 0; i < consumed; i += i < 64 ? 1 : 61)
            FUZZ_CHECK(read_prefix(data + used, i, &other, &n) == 0);
        check_again(&token);
        used += consumed;
    }
    FUZZ_CHECK((rc < 0) == (error != NULL));
    return 0;
}
