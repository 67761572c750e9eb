/* Decoders: what turns the bytes of a connection into messages, and what on_message returns into
 * bytes. A connection knows no protocol; it has one of these, or none. */
#ifndef LUNODE_BINDINGS_DECODER_H
#define LUNODE_BINDINGS_DECODER_H

#include "common.h"
#include "frame.h"
#include "line.h"
#include "msgpack.h"
#include "resp.h"

#include <stdbool.h>

/* What `conn:set` may change at any time. */
struct ln_decoder_settings {
    int protocol; /* of RESP replies: 2 or 3 */
    struct ln_resp_limits resp;
    size_t max_line;
    size_t max_message; /* 0: what the decoder has as its default */
    uint32_t max_values;
};

#define LN_DECODER_SETTINGS_DEFAULT                                                                \
    ((struct ln_decoder_settings){2, LN_RESP_LIMITS_DEFAULT, LN_LINE_MAX_DEFAULT, 0,               \
                                  LN_MSGPACK_LIMITS_DEFAULT.max_values})

/* What the option `decoder` tells. */
struct ln_decoder_options {
    const struct ln_decoder_ops *ops; /* NULL: no decoder */
    struct ln_frame_format frame;
    size_t frame_max; /* 0: max_message counts */
};

/* For on_message, on_long_message, on_short_message. */
enum ln_message_kind { LN_MESSAGE, LN_LONG_MESSAGE, LN_SHORT_MESSAGE };

struct ln_decoder { /* each decoder begins with this */
    const struct ln_decoder_ops *ops;
    const struct ln_decoder_settings *settings; /* the connection's */
    const char *error;                          /* after -EPROTO: why */
    enum ln_message_kind kind;                  /* whose the message is that next has pushed */
    int values;  /* where the values of its names are on the stack, if it has any */
    bool broken; /* what next raised is a fault of the decoder: nobody can answer for it */
};

/* A message for on_message is at most so many values: Lua's stack has an end. */
enum { LN_DECODER_MAX_VALUES = 4096 };

/* These run inside of ln_try, with room on the stack for LN_DECODER_MAX_VALUES. */
struct ln_decoder_ops {
    /* A new decoder, or NULL: no memory. callbacks is the index of the connection's list. May
     * raise, then nothing was acquired. */
    struct ln_decoder *(*make)(lua_State *L, int callbacks,
                               const struct ln_decoder_options *options);
    void (*free)(lua_State *L, struct ln_decoder *d);
    /* Lets go of Lua values before it is freed, which may then be later; NULL: it holds none. */
    void (*drop)(lua_State *L, struct ln_decoder *d);

    /* Looks for one message in data, which begins behind the last byte taken: pushes its values and
     * returns how many there are; 0: more bytes are needed; or a status. Adds to *taken the bytes
     * it took, before it pushes, so that a message for which there is no memory is passed over. */
    int (*next)(lua_State *L, struct ln_decoder *d, const char *data, size_t len, size_t *taken);

    /* Appends the value on top of the stack, which on_message returned, to out; or raises with out
     * as it was. False: nothing is to be written. */
    bool (*reply)(lua_State *L, struct ln_decoder *d, struct ln_buffer *out);
};

extern const struct ln_decoder_ops ln_decoder_line, ln_decoder_frame, ln_decoder_resp,
    ln_decoder_msgpack, ln_decoder_function;

/* Takes the value on top of the stack, given as option `decoder`: "line", "resp", "msgpack",
 * {length = …} or a function, which it puts into the list of callbacks. Raises where it is none. */
void ln_decoder_take_option(lua_State *L, int callbacks, struct ln_decoder_options *o);

/* Takes a setting whose value is on top of the stack. False when the key is none. */
bool ln_decoder_take_setting(lua_State *L, const char *key, struct ln_decoder_settings *s);

/* The option's value on top of the stack, or raises. */
lua_Integer ln_check_count(lua_State *L, const char *key, lua_Integer min, lua_Integer max);
bool ln_check_boolean(lua_State *L, const char *key);

#endif
