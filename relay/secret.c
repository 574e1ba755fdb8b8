#include "relay/secret.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

bool secret_draw(char ret[SECRET_LEN + 1])
{
    uint8_t bytes[SECRET_LEN / 2];

    ret[0] = '\0';
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
    OPENSSL_cleanse(bytes, sizeof(bytes));
    return true;
}
