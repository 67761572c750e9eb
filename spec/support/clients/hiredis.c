/* What people do with hiredis, against the node at HOST PORT. Prints "ok" at the end. */
#include <hiredis/hiredis.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void expect_text(redisReply *reply, int type, const char *text) {
    CHECK(reply && reply->type == type);
    CHECK(strcmp(reply->str, text) == 0);
    freeReplyObject(reply);
}

static void expect_integer(redisReply *reply, long long value) {
    CHECK(reply && reply->type == REDIS_REPLY_INTEGER && reply->integer == value);
    freeReplyObject(reply);
}

static redisReply *next(redisContext *c) {
    void *reply = NULL;
    CHECK(redisGetReply(c, &reply) == REDIS_OK);
    return reply;
}

static void pipeline(redisContext *c) {
    for (int i = 0; i < 1000; i++)
        redisAppendCommand(c, "SET p:%d %d", i, i);
    for (int i = 0; i < 1000; i++)
        expect_text(next(c), REDIS_REPLY_STATUS, "OK");
}

static void transaction(redisContext *c) {
    expect_text(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK");
    expect_text(redisCommand(c, "SET n 1"), REDIS_REPLY_STATUS, "QUEUED");
    expect_text(redisCommand(c, "INCR n"), REDIS_REPLY_STATUS, "QUEUED");
    redisReply *reply = redisCommand(c, "EXEC");
    CHECK(reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 2);
    CHECK(reply->element[1]->integer == 2);
    freeReplyObject(reply);
}

static void publish(redisContext *c, const char *host, int port) {
    redisContext *subscriber = redisConnect(host, port);
    CHECK(subscriber && !subscriber->err);
    freeReplyObject(redisCommand(subscriber, "SUBSCRIBE news"));
    expect_integer(redisCommand(c, "PUBLISH news hello"), 1);
    redisReply *reply = next(subscriber);
    CHECK(reply->type == REDIS_REPLY_ARRAY && strcmp(reply->element[2]->str, "hello") == 0);
    freeReplyObject(reply);
    redisFree(subscriber);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    redisContext *c = redisConnect(argv[1], atoi(argv[2]));
    CHECK(c && !c->err);
    const char bytes[] = {'a', 0, '\r', '\n', (char)0xff};
    expect_text(redisCommand(c, "SET key %b", bytes, sizeof bytes), REDIS_REPLY_STATUS, "OK");
    redisReply *reply = redisCommand(c, "GET key");
    CHECK(reply && reply->len == sizeof bytes && memcmp(reply->str, bytes, sizeof bytes) == 0);
    freeReplyObject(reply);
    expect_integer(redisCommand(c, "RPUSH list a b c"), 3);
    reply = redisCommand(c, "LRANGE list 0 -1");
    CHECK(reply && reply->elements == 3 && strcmp(reply->element[2]->str, "c") == 0);
    freeReplyObject(reply);
    reply = redisCommand(c, "BLPOP nothing list 1");
    CHECK(reply && reply->elements == 2 && strcmp(reply->element[1]->str, "a") == 0);
    freeReplyObject(reply);
    reply = redisCommand(c, "INCR list");
    CHECK(reply && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "WRONGTYPE ", 10) == 0);
    freeReplyObject(reply);
    pipeline(c);
    transaction(c);
    publish(c, argv[1], atoi(argv[2]));
    redisFree(c);
    puts("ok");
    return 0;
}
