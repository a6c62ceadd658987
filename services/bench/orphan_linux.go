package bench

import "syscall"

// dieWithParent has a child killed when this process dies, however that happens.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
