// Keeps a key in locked memory, from Go: docs/coming-from.md quotes this program.
package main

// #cgo pkg-config: bitcoin_support
// #include <bitcoin_support.h>
import "C"

import (
	"crypto/rand"
	"fmt"
	"unsafe"
)

func main() {
	key := C.bitcoin_support_alloc(32) // memguard.NewBuffer(32)
	if key == nil {
		panic("there is no memory for secrets")
	}
	bytes := unsafe.Slice((*byte)(key), 32) // buffer.Bytes()
	if _, err := rand.Read(bytes); err != nil {
		panic(err)
	}
	fmt.Println("a key of", len(bytes), "bytes is in locked memory")
	C.bitcoin_support_free(key) // buffer.Destroy(): wiped
}
