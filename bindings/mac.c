/* lunode.mac: who knows a secret, without saying it. Types in lunode.meta.lua. A file of its own
 * (mac.so), so that what shares no secret does not load libsodium. */
#include <lauxlib.h>
#include <lua.h>
#include <sodium.h>

int luaopen_lunode_mac(lua_State *L);

static int mac_of(lua_State *L) {
    size_t key_len, text_len;
    const char *key = luaL_checklstring(L, 1, &key_len);
    const char *text = luaL_checklstring(L, 2, &text_len);
    unsigned char mac[crypto_auth_hmacsha256_BYTES];
    crypto_auth_hmacsha256_state state; /* unlike the short form, it takes keys of any length */
    crypto_auth_hmacsha256_init(&state, (const unsigned char *)key, key_len);
    crypto_auth_hmacsha256_update(&state, (const unsigned char *)text, text_len);
    crypto_auth_hmacsha256_final(&state, mac);
    sodium_memzero(&state, sizeof state);
    lua_pushlstring(L, (const char *)mac, sizeof mac);
    return 1;
}

static int mac_equal(lua_State *L) {
    size_t a_len, b_len;
    const char *a = luaL_checklstring(L, 1, &a_len);
    const char *b = luaL_checklstring(L, 2, &b_len);
    lua_pushboolean(L, a_len == b_len && sodium_memcmp(a, b, a_len) == 0);
    return 1;
}

static const luaL_Reg mac_functions[] = {
    {"equal", mac_equal},
    {"of", mac_of},
    {NULL, NULL},
};

int luaopen_lunode_mac(lua_State *L) {
    if (sodium_init() < 0)
        return luaL_error(L, "libsodium cannot be used on this machine");
    luaL_newlib(L, mac_functions);
    return 1;
}
