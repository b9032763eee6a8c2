/* Hardens the process before it has its first secret, and says what was not to be had. */

#include <bitcoin_support.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    const bitcoin_support_harden_steps steps =
        BITCOIN_SUPPORT_HARDEN_NOT_DUMPABLE | BITCOIN_SUPPORT_HARDEN_NO_CORE_FILE |
        BITCOIN_SUPPORT_HARDEN_NO_WRITE_EXECUTE | BITCOIN_SUPPORT_HARDEN_NO_NEW_PRIVILEGES |
        BITCOIN_SUPPORT_HARDEN_LOCK_LIMIT | BITCOIN_SUPPORT_HARDEN_SEALED_POOL;
    bitcoin_support_harden_result results[6];
    bitcoin_support_status status = bitcoin_support_harden_process(steps, results, 6);
    if (status != BITCOIN_SUPPORT_OK) {
        printf("%s\n", bitcoin_support_status_message(status));
        return 1;
    }
    for (int i = 0; i < 6; ++i) {
        const char* const name = bitcoin_support_harden_step_name(results[i].step);
        if (results[i].status == BITCOIN_SUPPORT_OK) {
            printf("%s\n", name);
        } else if (results[i].error == 0) {
            printf("%s: not supported here\n", name);
        } else {
            printf("%s: refused: %s\n", name, strerror(results[i].error));
        }
    }

    void* const key = bitcoin_support_alloc(32);
    return bitcoin_support_free(key) == BITCOIN_SUPPORT_OK ? 0 : 1;
}
