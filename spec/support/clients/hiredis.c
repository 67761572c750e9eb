/* What people do with hiredis, against the node at HOST PORT. Prints "ok" at the end. */
#define _POSIX_C_SOURCE 200809L
#include <hiredis/hiredis.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static const struct timeval patience = {.tv_sec = 45};
static const char *host;
static int port;

static redisContext *connect_patiently(void) {
    redisContext *c = redisConnectWithTimeout(host, port, patience);
    CHECK(c && !c->err);
    CHECK(redisSetTimeout(c, patience) == REDIS_OK);
    return c;
}

static void expect_text(redisReply *reply, int type, const char *text) {
    CHECK(reply && reply->type == type);
    CHECK(strncmp(reply->str, text, strlen(text)) == 0);
    CHECK(type == REDIS_REPLY_ERROR || reply->len == strlen(text));
    freeReplyObject(reply);
}

static void expect_integer(redisReply *reply, long long value) {
    CHECK(reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == value);
    freeReplyObject(reply);
}

static void expect_nil(redisReply *reply) {
    CHECK(reply && reply->type == REDIS_REPLY_NIL);
    freeReplyObject(reply);
}

/* All elements as one text, with a blank behind each; of numbers too, and of what lies within. */
static void expect_elements(redisReply *reply, const char *expected) {
    char text[256] = "";
    size_t used = 0;
    CHECK(reply && reply->type == REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < reply->elements && used < sizeof text; i++) {
        const redisReply *element = reply->element[i];
        int more = element->type == REDIS_REPLY_INTEGER
                       ? snprintf(text + used, sizeof text - used, "%lld ", element->integer)
                       : snprintf(text + used, sizeof text - used, "%s ",
                                  element->str ? element->str : "-");
        CHECK(more > 0);
        used += (size_t)more;
    }
    if (strcmp(text, expected) != 0)
        fprintf(stderr, "%s\n", text);
    CHECK(strcmp(text, expected) == 0);
    freeReplyObject(reply);
}

static redisReply *next(redisContext *c) {
    void *reply = NULL;
    CHECK(redisGetReply(c, &reply) == REDIS_OK);
    return reply;
}

static void flush(redisContext *c) {
    int done = 0;
    while (!done)
        CHECK(redisBufferWrite(c, &done) == REDIS_OK);
}

static void take_breath(void) {
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
}

static void plain(redisContext *c) {
    const char bytes[] = {'a', 0, '\r', '\n', (char)0xff};
    expect_text(redisCommand(c, "SET key %b", bytes, sizeof bytes), REDIS_REPLY_STATUS, "OK");
    redisReply *reply = redisCommand(c, "GET key");
    CHECK(reply && reply->len == sizeof bytes && memcmp(reply->str, bytes, sizeof bytes) == 0);
    freeReplyObject(reply);
    const char *words[] = {"SET", "two words", ""};
    expect_text(redisCommandArgv(c, 3, words, NULL), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(c, "GET %s", "two words"), REDIS_REPLY_STRING, "");
    expect_nil(redisCommand(c, "GET nothing"));
    expect_integer(redisCommand(c, "RPUSH list a b c"), 3);
    expect_elements(redisCommand(c, "LRANGE list 0 -1"), "a b c ");
    expect_elements(redisCommand(c, "LRANGE nothing 0 -1"), "");
    expect_integer(redisCommand(c, "HSET hash f 1 g 2"), 2);
    expect_elements(redisCommand(c, "HMGET hash g nothing"), "2 - ");
    expect_integer(redisCommand(c, "SADD set x y"), 2);
    expect_elements(redisCommand(c, "SMISMEMBER set x z"), "1 0 ");
    expect_integer(redisCommand(c, "ZADD zset 1 a 2.5 b inf c"), 3);
    expect_elements(redisCommand(c, "ZRANGE zset 0 -1 WITHSCORES"), "a 1 b 2.5 c inf ");
}

static void scan(redisContext *c) {
    size_t seen = 0;
    char cursor[32] = "0";
    for (int i = 0; i < 300; i++)
        expect_integer(redisCommand(c, "SADD scanned %d", i), 1);
    do {
        redisReply *reply = redisCommand(c, "SSCAN scanned %s COUNT 50", cursor);
        CHECK(reply && reply->elements == 2 && reply->element[0]->len < sizeof cursor);
        strcpy(cursor, reply->element[0]->str);
        seen += reply->element[1]->elements;
        freeReplyObject(reply);
    } while (strcmp(cursor, "0") != 0);
    CHECK(seen == 300);
}

static void pipeline(redisContext *c) {
    for (int i = 0; i < 1000; i++)
        CHECK(redisAppendCommand(c, "SET p:%d %d", i, i) == REDIS_OK);
    CHECK(redisAppendCommand(c, "INCR list") == REDIS_OK);
    CHECK(redisAppendCommand(c, "GET p:999") == REDIS_OK);
    for (int i = 0; i < 1000; i++)
        expect_text(next(c), REDIS_REPLY_STATUS, "OK");
    expect_text(next(c), REDIS_REPLY_ERROR, "WRONGTYPE ");
    expect_text(next(c), REDIS_REPLY_STRING, "999");
}

static void transaction(redisContext *c, redisContext *other) {
    expect_text(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(c, "SET n 1"), REDIS_REPLY_STATUS, "QUEUED");
    expect_text(redisCommand(c, "INCR n"), REDIS_REPLY_STATUS, "QUEUED");
    expect_elements(redisCommand(c, "EXEC"), "OK 2 ");
    expect_text(redisCommand(c, "WATCH n"), REDIS_REPLY_STATUS, "OK");
    expect_integer(redisCommand(other, "INCR n"), 3);
    expect_text(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(c, "SET n 0"), REDIS_REPLY_STATUS, "QUEUED");
    expect_nil(redisCommand(c, "EXEC"));
    expect_text(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(c, "NONSENSE"), REDIS_REPLY_ERROR, "ERR unknown command");
    expect_text(redisCommand(c, "EXEC"), REDIS_REPLY_ERROR, "EXECABORT ");
    expect_text(redisCommand(c, "GET n"), REDIS_REPLY_STRING, "3");
}

static void block(redisContext *c, redisContext *other) {
    expect_nil(redisCommand(c, "BLPOP nothing 0.05"));
    CHECK(redisAppendCommand(c, "BLPOP nothing queue 20") == REDIS_OK);
    CHECK(redisAppendCommand(c, "BZPOPMIN ranked 20") == REDIS_OK);
    flush(c);
    expect_integer(redisCommand(other, "ZADD ranked 1 one"), 1);
    expect_integer(redisCommand(other, "RPUSH queue job"), 1);
    expect_elements(next(c), "queue job ");
    expect_elements(next(c), "ranked one 1 ");
}

static void publish(redisContext *c) {
    redisContext *subscriber = connect_patiently();
    expect_elements(redisCommand(subscriber, "SUBSCRIBE news"), "subscribe news 1 ");
    expect_elements(redisCommand(subscriber, "PSUBSCRIBE n* __keyevent@0__:*"), "psubscribe n* 2 ");
    expect_elements(next(subscriber), "psubscribe __keyevent@0__:* 3 ");
    expect_integer(redisCommand(c, "PUBLISH news hello"), 2);
    expect_elements(next(subscriber), "message news hello ");
    expect_elements(next(subscriber), "pmessage n* news hello ");
    expect_text(redisCommand(subscriber, "GET a"), REDIS_REPLY_ERROR, "ERR Can't execute 'get'");
    expect_text(redisCommand(c, "CONFIG SET notify-keyspace-events KEA"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(c, "SET e 1 PX 20"), REDIS_REPLY_STATUS, "OK");
    const char *events[] = {"set", "expire", "expired"};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "pmessage __keyevent@0__:* __keyevent@0__:%s e ",
                 events[i]);
        expect_elements(next(subscriber), expected);
    }
    expect_text(redisCommand(c, "CONFIG SET notify-keyspace-events %s", ""), REDIS_REPLY_STATUS,
                "OK");
    redisFree(subscriber);
}

static void errors(redisContext *c) {
    expect_text(redisCommand(c, "INCR list"), REDIS_REPLY_ERROR, "WRONGTYPE ");
    expect_text(redisCommand(c, "GET"), REDIS_REPLY_ERROR,
                "ERR wrong number of arguments for 'get' command");
    expect_text(redisCommand(c, "EVAL x 0"), REDIS_REPLY_ERROR, "ERR unknown command 'EVAL'");
    redisContext *impatient = connect_patiently();
    CHECK(redisSetTimeout(impatient, (struct timeval){.tv_usec = 50000}) == REDIS_OK);
    CHECK(!redisCommand(impatient, "BLPOP nothing 0"));
    CHECK(impatient->err == REDIS_ERR_IO && errno == EAGAIN);
    redisFree(impatient);
    redisContext *leaving = connect_patiently();
    expect_text(redisCommand(leaving, "QUIT"), REDIS_REPLY_STATUS, "OK");
    CHECK(!redisCommand(leaving, "PING"));
    CHECK(leaving->err == REDIS_ERR_EOF || leaving->err == REDIS_ERR_IO);
    redisFree(leaving);
}

static int answers(redisContext *c) {
    void *reply = redisCommand(c, "PING");
    if (reply)
        freeReplyObject(reply);
    return reply != NULL;
}

static void restart(redisContext *c) {
    expect_text(redisCommand(c, "SET n 1"), REDIS_REPLY_STATUS, "OK");
    puts("kill the server");
    fflush(stdout);
    while (answers(c))
        take_breath();
    CHECK(c->err == REDIS_ERR_EOF || c->err == REDIS_ERR_IO);
    time_t end = time(NULL) + patience.tv_sec;
    while (redisReconnect(c) != REDIS_OK || !answers(c)) { /* a dying server may still accept */
        CHECK(time(NULL) < end);
        take_breath();
    }
    expect_integer(redisCommand(c, "INCR n"), 2);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    host = argv[1];
    port = atoi(argv[2]);
    redisContext *c = connect_patiently();
    redisContext *other = connect_patiently();
    plain(c);
    scan(c);
    pipeline(c);
    transaction(c, other);
    block(c, other);
    publish(c);
    errors(c);
    restart(c);
    redisFree(c);
    redisFree(other);
    puts("ok");
    return 0;
}
