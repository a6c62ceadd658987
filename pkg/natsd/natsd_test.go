package natsd_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"candor/pkg/bus"
	"candor/pkg/bustest"
	"candor/pkg/natsd"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	childEnv = "CANDOR_NATSD_TEST_CHILD" // the part a child process plays
	patience = 3 * time.Minute
	sms      = candorv1.Channel_CHANNEL_SMS
)

func TestMain(m *testing.M) {
	if part := os.Getenv(childEnv); part != "" {
		if err := child(part, os.Args[1]); err != nil {
			fmt.Println("child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func open(t testing.TB, cfg natsd.Config) *natsd.Server {
	t.Helper()
	cfg.FreeSpaceMark = max(cfg.FreeSpaceMark, 1)
	s, err := natsd.Open(t.Context(), cfg, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, s) })
	return s
}

func shut(t testing.TB, s *natsd.Server) {
	t.Helper()
	if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func connect(t testing.TB, s *natsd.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{Server: s, Name: "test", RequestTimeout: patience}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.WithoutCancel(t.Context())) })
	return b
}

// entries opens the folder, appends n entries to JOURNAL, and closes it again.
func entries(t testing.TB, dir string, n int) {
	t.Helper()
	s := open(t, natsd.Config{Dir: dir, Memory: true})
	b := connect(t, s)
	if err := topology.Apply(t.Context(), b, topology.Options{}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: topology.Journal(sms, "inc", "w0", uint32(i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
}

func TestASecondProcessOnTheSameFolderIsToldWhoHasIt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nats")
	first := open(t, natsd.Config{Dir: dir, Memory: true})
	_, err := natsd.Open(t.Context(), natsd.Config{Dir: dir, Memory: true}, zerolog.Nop())
	if err == nil {
		t.Fatal("two servers on one folder")
	}
	for _, want := range []string{dir, "process " + strconv.Itoa(os.Getpid()), "another folder"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	shut(t, first)
	open(t, natsd.Config{Dir: dir, Memory: true})
}

func TestBootNumbersAreNeverUsedTwice(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nats")
	var last uint64
	boot := func() {
		t.Helper()
		s := open(t, natsd.Config{Dir: dir, Memory: true})
		if s.BootID() <= last {
			t.Errorf("boot %d after %d", s.BootID(), last)
		}
		last = s.BootID()
		shut(t, s)
	}
	boot()
	boot()
	if err := os.Remove(dir + ".witness"); err != nil {
		t.Fatal(err)
	}
	boot()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	boot()
}

func TestTheWitnessFindsWhatTheFolderLost(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, dir, backup string)
		want   []string
	}{
		{"nothing", func(*testing.T, string, string) {}, nil},
		{
			"a folder put back from a backup", func(t *testing.T, dir, backup string) {
				t.Helper()
				replace(t, dir, backup)
			},
			[]string{"Stream JOURNAL came back with 5 entries of at least 9 that were acknowledged."},
		},
		{
			"the stream's folder", func(t *testing.T, dir, _ string) {
				t.Helper()
				if err := os.RemoveAll(filepath.Join(dir, "jetstream", "$G", "streams", topology.StreamJournal)); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"Stream JOURNAL is gone; it had 9 entries."},
		},
		{
			"the witness itself", func(t *testing.T, dir, _ string) {
				t.Helper()
				if err := os.Remove(dir + ".witness"); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"Stream JOURNAL holds 9 entries, and the witness file"},
		},
		{
			"the end of a block, as after a kill with a damaged byte", func(t *testing.T, dir, _ string) {
				t.Helper()
				msgs := filepath.Join(dir, "jetstream", "$G", "streams", topology.StreamJournal, "msgs")
				blk := filepath.Join(msgs, "1.blk")
				b, err := os.ReadFile(blk)
				if err != nil {
					t.Fatal(err)
				}
				b[len(b)*2/3] ^= 0x40
				if err := errors.Join(os.WriteFile(blk, b, 0o600), os.Remove(filepath.Join(msgs, "index.db"))); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"Stream JOURNAL came back with "},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tmp := t.TempDir()
			dir, backup := filepath.Join(tmp, "nats"), filepath.Join(tmp, "backup")
			entries(t, dir, 5)
			if err := os.CopyFS(backup, os.DirFS(dir)); err != nil {
				t.Fatal(err)
			}
			entries(t, dir, 4)
			tt.damage(t, dir, backup)

			for range 2 { // a restart does not make it good
				s := open(t, natsd.Config{Dir: dir, Memory: true})
				got := s.Damage()
				if len(got) != len(tt.want) || !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
					t.Fatalf("damage %q, want %q", got, tt.want)
				}
				shut(t, s)
			}
			s := open(t, natsd.Config{Dir: dir, Memory: true})
			if err := s.SettleDamage(); err != nil {
				t.Fatal(err)
			}
			shut(t, s)
			s = open(t, natsd.Config{Dir: dir, Memory: true})
			if got := s.Damage(); len(got) != 0 {
				t.Errorf("settled, and still %q", got)
			}
		})
	}
}

func replace(t testing.TB, dir, by string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.CopyFS(dir, os.DirFS(by))); err != nil {
		t.Fatal(err)
	}
}

func TestAnUnreadableWitnessIsNotIgnored(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nats")
	if err := os.WriteFile(dir+".witness", []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Open(t.Context(), natsd.Config{Dir: dir, Memory: true}, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), dir+".witness") {
		t.Errorf("Open = %v, want an error that names the file", err)
	}
}

func TestTheDoorIsClosedByDefault(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nats")
	if _, err := natsd.Open(t.Context(), natsd.Config{Dir: dir, Memory: true, Listen: "127.0.0.1:0"}, zerolog.Nop()); err == nil {
		t.Error("listens without users")
	}
	public, _, err := bus.NewUser()
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, natsd.Config{Dir: dir, Memory: true, Listen: "127.0.0.1:0", Users: []natsd.User{{Name: "x", NKeyPublic: public}}})
	said := ""
	for wait := 300 * time.Millisecond; !strings.Contains(said, "authorization") && wait < patience; wait *= 2 { // until the server had time to say so
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		_, err := bus.Connect(ctx, bus.Config{URL: s.ClientURL(), Name: "stranger"}, zerolog.Nop())
		cancel()
		if err == nil {
			t.Fatal("connected without a key")
		}
		said = strings.ToLower(err.Error())
	}
	if !strings.Contains(said, "authorization") {
		t.Errorf("Connect without a key = %s, want an authorization error", said)
	}
	if open(t, natsd.Config{Dir: dir + "2", Memory: true}).ClientURL() != "" {
		t.Error("a port was opened without being asked for")
	}
	if _, err := natsd.Open(t.Context(), natsd.Config{Dir: dir + "3", Listen: "127.0.0.1:0", Users: []natsd.User{{Name: "x", NKeyPublic: "SUSEED"}}}, zerolog.Nop()); err == nil {
		t.Error("a user without a public key was taken")
	}
}

// Workers in other processes must not come in before somebody has looked at the damage.
func TestAHeldPortOpensWhenAdmitted(t *testing.T) {
	t.Parallel()
	public, seed, err := bus.NewUser()
	if err != nil {
		t.Fatal(err)
	}
	seedFile := filepath.Join(t.TempDir(), "x.seed")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := bustest.FreeAddr(t)
	s := open(t, natsd.Config{
		Dir: filepath.Join(t.TempDir(), "nats"), Memory: true, Listen: addr, Hold: true,
		Users: []natsd.User{{Name: "x", NKeyPublic: public, Publish: []string{">"}, Subscribe: []string{">"}}},
	})
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Fatal("the port is open before anybody was admitted")
	}
	for range 2 {
		if err := s.Admit(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := bus.Connect(t.Context(), bus.Config{URL: s.ClientURL(), Name: "x", NKeySeedFile: seedFile}, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSpaceLowBelowTheMark(t *testing.T) {
	t.Parallel()
	tmp := t.TempDir()
	if open(t, natsd.Config{Dir: filepath.Join(tmp, "a"), Memory: true, FreeSpaceMark: 1}).SpaceLow() {
		t.Error("low with a mark of one byte")
	}
	if !open(t, natsd.Config{Dir: filepath.Join(tmp, "b"), Memory: true, FreeSpaceMark: 1 << 60}).SpaceLow() {
		t.Error("not low with a mark of an exabyte")
	}
}

// A child process that this test binary plays: see child.
type process struct {
	cmd  *exec.Cmd
	out  *bufio.Scanner
	kill func()
}

func start(t testing.TB, part, dir string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, dir)
	cmd.Env = append(os.Environ(), childEnv+"="+part)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, out: bufio.NewScanner(out)}
	p.kill = func() { _ = cmd.Process.Kill() }
	t.Cleanup(func() {
		p.kill()
		_ = cmd.Wait()
	})
	return p
}

func child(part, dir string) error {
	ctx := context.Background()
	switch part {
	case "append":
		return childAppends(ctx, dir)
	case "full disk":
		return childFullDisk(ctx, dir)
	}
	return errors.New("unknown part " + part)
}

// childAppends appends, and says each sequence after it was acknowledged, until it is killed.
func childAppends(ctx context.Context, dir string) error {
	s, err := natsd.Open(ctx, natsd.Config{Dir: dir, FreeSpaceMark: 1}, zerolog.Nop())
	if err != nil {
		return err
	}
	b, err := bus.Connect(ctx, bus.Config{Server: s, Name: "child"}, zerolog.Nop())
	if err != nil {
		return err
	}
	if err := topology.Apply(ctx, b, topology.Options{}); err != nil {
		return err
	}
	for i := 0; ; i++ {
		ms := make([]bus.Message, 1+i%3*20) // single ones and batches
		for j := range ms {
			ms[j] = bus.Message{Subject: topology.Journal(sms, "inc", "w0", uint32(j)), Data: fmt.Appendf(nil, "%d of %d", j+1, len(ms))}
		}
		first, err := b.AppendBatch(ctx, topology.StreamJournal, ms)
		if err != nil {
			return err
		}
		fmt.Println(first + uint64(len(ms)) - 1)
	}
}

func TestWhatWasAcknowledgedSurvivesAKill(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nats")
	var acknowledged uint64
	for range 3 {
		p := start(t, "append", dir)
		for range 10 {
			if !p.out.Scan() {
				t.Fatalf("child ended early: %v", p.out.Err())
			}
			acknowledged, _ = strconv.ParseUint(p.out.Text(), 10, 64)
		}
		p.kill()
		for p.out.Scan() { // what it said before it died
			if n, err := strconv.ParseUint(p.out.Text(), 10, 64); err == nil {
				acknowledged = n
			}
		}
		_ = p.cmd.Wait()

		s := open(t, natsd.Config{Dir: dir, Memory: true})
		if d := s.Damage(); len(d) != 0 {
			t.Errorf("damage after a kill: %q", d)
		}
		b := connect(t, s)
		st, err := b.State(t.Context(), topology.StreamJournal)
		if err != nil || st.Last < acknowledged || st.Msgs != st.Last || st.First != 1 {
			t.Errorf("%+v, %v; want at least %d entries", st, err, acknowledged)
		}
		// A batch is there as a whole or not at all, also when the kill came in the middle.
		open := 0
		_, err = b.Read(t.Context(), topology.StreamJournal, "", 1, func(m bus.Stored) error {
			var n, of int
			if _, err := fmt.Sscanf(string(m.Data), "%d of %d", &n, &of); err != nil {
				return err
			}
			if n != open+1 {
				return fmt.Errorf("entry %d is %s after %d", m.Seq, m.Data, open)
			}
			if open = n; n == of {
				open = 0
			}
			return nil
		})
		if err != nil || open != 0 {
			t.Errorf("read: %v, %d entries of an unfinished batch", err, open)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
		shut(t, s)
	}
}

// childFullDisk lets files of this process grow no further, as a full disk would, then lets them grow again.
func childFullDisk(ctx context.Context, dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := natsd.Open(ctx, natsd.Config{Dir: dir, FreeSpaceMark: 1}, zerolog.Nop())
	if err != nil {
		return err
	}
	b, err := bus.Connect(ctx, bus.Config{Server: s, Name: "child"}, zerolog.Nop())
	if err != nil {
		return err
	}
	if err := topology.Apply(ctx, b, topology.Options{}); err != nil {
		return err
	}
	m := bus.Message{Subject: topology.Journal(sms, "inc", "w0", 1), Data: make([]byte, 10_000)}
	var full syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	space := full.Cur
	full.Cur = 200_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	stored := 0
	for ; ; stored++ {
		actx, cancel := context.WithTimeout(ctx, 5500*time.Millisecond) // longer than the bus waits
		_, err := b.Append(actx, topology.StreamJournal, m)
		cancel()
		if err != nil {
			fmt.Println("hangs", errors.Is(err, bus.ErrUnknownOutcome))
			break
		}
	}
	full.Cur = space
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	var waiting sync.WaitGroup
	for page := range uint32(4) { // enough to be believed
		waiting.Go(func() {
			m := m
			m.Subject = topology.Journal(sms, "inc", "w0", page)
			for err := bus.ErrUnavailable; err != nil; _, err = b.Append(ctx, topology.StreamJournal, m) {
			}
		})
	}
	waiting.Wait()
	st, err := b.State(ctx, topology.StreamJournal)
	if err != nil {
		return err
	}
	fmt.Println("back", int(st.Msgs) > stored, len(s.Damage()) == 0)
	if err := b.Close(ctx); err != nil {
		return err
	}
	return s.Close(ctx)
}

func TestAStreamThatHangsAfterAFullDiskComesBackByItself(t *testing.T) {
	t.Parallel()
	p := start(t, "full disk", filepath.Join(t.TempDir(), "nats"))
	var said []string
	for p.out.Scan() {
		said = append(said, p.out.Text())
	}
	if got := strings.Join(said, ", "); got != "hangs true, back true true" {
		t.Errorf("child said %q", got)
	}
}

func TestTheWitnessIsWrittenWhileRunning(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nats")
	_, b := bustest.Start(t, bustest.Options{Dir: dir})
	for i := range uint32(3) {
		if _, err := b.Append(t.Context(), topology.StreamJournal, bus.Message{Subject: topology.Journal(sms, "inc", "w0", i)}); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the witness has seen them", func() bool {
		w, err := os.ReadFile(dir + ".witness")
		return err == nil && strings.Contains(string(w), `"last": 3`)
	})
	info, err := os.Stat(dir + ".witness")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("witness file: %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(dir + ".witness.new"); !errors.Is(err, fs.ErrNotExist) {
		t.Log("a new witness is just being written")
	}
}
