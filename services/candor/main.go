// Package main is the one binary: every command, and nothing else.
//
// In: arguments, files, the environment, the api of a running candor serve   Out: text or JSON, and an exit code that says
// how it went   Crash: a command that was cut off can be given again; the api answers what was done already.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, newCLI(), os.Args[1:])
	stop()
	os.Exit(code)
}
