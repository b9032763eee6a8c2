/* A DLL that is loaded before the library, and so hears of the process's end after it. Ends the process with what is left
 * of a secret then: 40 if it has been wiped, 41 if it is there, 42 for anything else. */

#include <windows.h>

#define LENGTH 64

static const volatile unsigned char* secret;

__declspec(dllexport) void watch(const unsigned char* bytes) { secret = bytes; }

BOOL WINAPI DllMain(HINSTANCE module, DWORD event, LPVOID reserved)
{
    UINT code = 40;
    int i;
    (void)module, (void)reserved;
    if (event != DLL_PROCESS_DETACH || secret == NULL) return TRUE;
    if (secret[0] != 0) code = 41;
    for (i = 0; i < LENGTH; ++i) {
        if (secret[i] != (code == 40 ? 0 : 0xa5)) code = 42;
    }
    TerminateProcess(GetCurrentProcess(), code);
    return TRUE;
}
