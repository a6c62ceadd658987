package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"candor/pkg/bustest"
	candorv1 "candor/proto/candor/v1"
)

var update = flag.Bool("update", false, "rewrite the golden parts of the scripts")

func TestMain(m *testing.M) {
	testscript.Main(leakless{m}, map[string]func(){"candor": main})
}

// leakless runs the tests and then looks for goroutines that a stopped candor serve left behind.
type leakless struct{ *testing.M }

func (l leakless) Run() int {
	code := l.M.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n") // the exit code says it too
		return 1
	}
	return code
}

// TestScripts gives real commands to a real candor serve. Beside the commands of testscript, a script has
//
//	serve [flags]           run candor serve in the background, until it says where it is; sets CANDOR_SERVER
//	stop                    interrupt it, and expect that it stops in order
//	code N COMMAND…         expect the exit code N
//	replace FILE OLD NEW    change a file
//	ports FILE              give a candor.yaml free ports, and a ledger that waits longer on a busy machine
//	await ID CHANNEL STATE N  wait until so many notices are in the state, or in one of STATE+STATE; CHANNEL may be WAVE/CHANNEL
//	capture NAME REGEXP     set a variable to what the regexp's group found on standard output
func TestScripts(t *testing.T) {
	t.Parallel()
	field, err := filepath.Abs(filepath.Join("..", "..", "pkg", "roster", "testdata", "roster-field-es.csv"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"), UpdateScripts: *update, RequireUniqueNames: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("FIELD", field)
			env.Values[servers{}] = &[]*server{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": serveScript, "stop": stopScript, "code": codeScript, "replace": replaceScript,
			"ports": func(ts *testscript.TestScript, _ bool, args []string) { portsScript(t, ts, args) },
			"await": awaitScript, "capture": captureScript,
		},
	})
}

type servers struct{}

// server is a candor serve that runs in the background of a script.
type server struct {
	stop func()
	code chan int
	log  *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func noEnv(string) (string, bool) { return "", false }

func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("serve cannot be negated: use code N candor serve")
	}
	out, in := io.Pipe()
	s := &server{code: make(chan int, 1), log: &lockedBuffer{}}
	c := &cli{in: strings.NewReader(""), out: &printer{w: in}, err: &printer{w: s.log}, env: noEnv, now: time.Now, zone: time.UTC}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		code := run(ctx, c, append([]string{"serve", "--config", ts.MkAbs("candor.yaml"), "--target", "all,sandbox"}, args...))
		_ = in.Close()
		s.code <- code
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		ts.Fatalf("candor serve ended with exit code %d:\n%s", <-s.code, s.log)
	}
	url := regexp.MustCompile(`api (\S+)`).FindStringSubmatch(line)
	if url == nil {
		cancel()
		ts.Fatalf("candor serve does not say where its api is: %q", line)
	}
	ts.Setenv("CANDOR_SERVER", url[1])
	running, _ := ts.Value(servers{}).(*[]*server)
	*running = append(*running, s)
	ts.Defer(func() { s.stop(); <-s.code })
}

func stopScript(ts *testscript.TestScript, _ bool, _ []string) {
	running, _ := ts.Value(servers{}).(*[]*server)
	for _, s := range *running {
		s.stop()
		code := <-s.code
		s.code <- code // for the end of the script
		if code != exitDone {
			ts.Fatalf("candor serve stopped with exit code %d:\n%s", code, s.log)
		}
	}
	*running = nil
}

func codeScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func replaceScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: replace FILE OLD NEW")
	}
	before := ts.ReadFile(args[0])
	after := strings.ReplaceAll(before, args[1], args[2])
	if before == after {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(after), 0o600))
}

func portsScript(t *testing.T, ts *testscript.TestScript, args []string) {
	settings := "ledger: {catch_up: 4s}\n" + ts.ReadFile(args[0])
	for _, usual := range []string{"127.0.0.1:8420", "127.0.0.1:8421", "127.0.0.1:8422"} {
		settings = strings.ReplaceAll(settings, usual, bustest.FreeAddr(t))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(settings), 0o600))
}

func awaitScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: await ID CHANNEL STATE N")
	}
	want, err := strconv.ParseUint(args[3], 10, 64)
	ts.Check(err)
	c := &cli{env: noEnv}
	s, err := c.connect(&cobra.Command{}, &remote{server: ts.Getenv("CANDOR_SERVER"), tokenFile: ts.MkAbs(ts.Getenv("CANDOR_TOKEN_FILE"))})
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var last string
	there := func(st *candorv1.Status) bool {
		last = summary(st)
		for _, w := range st.GetWaves() {
			for _, ch := range w.GetChannels() {
				if name := candorv1.Word(ch.GetChannel()); name != args[1] && w.GetWave()+"/"+name != args[1] {
					continue
				}
				var n uint64
				for state := range strings.SplitSeq(args[2], "+") {
					n += ch.GetStates()[state]
				}
				if n == want {
					return false
				}
			}
		}
		return true
	}
	err = s.follow(ctx, args[0], there)
	for connect.CodeOf(err) == connect.CodeUnavailable && ctx.Err() == nil {
		err = s.follow(ctx, args[0], there) // a service that a busy machine keeps from answering is waited for
	}
	if err != nil {
		ts.Fatalf("%v: the last status was %s", err, last)
	}
}

func captureScript(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(m) != 2 {
		ts.Fatalf("%q is not on standard output, or has no group", args[1])
	}
	ts.Setenv(args[0], m[1])
}
