package e2e

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"candor/pkg/topology"
	"candor/services/app"
)

var deployments = filepath.Join("..", "..", "deployments")

// composeService is what these tests look at of a service in docker-compose.yml.
type composeService struct {
	Image       string   `yaml:"image"`
	Build       build    `yaml:"build"`
	Command     []string `yaml:"command"`
	Ports       []string `yaml:"ports"`
	Volumes     []string `yaml:"volumes"`
	Profiles    []string `yaml:"profiles"`
	NetworkMode string   `yaml:"network_mode"`
	Privileged  bool     `yaml:"privileged"`
}

type build struct {
	Context    string `yaml:"context"`
	Dockerfile string `yaml:"dockerfile"`
}

func readCompose(t *testing.T) map[string]composeService {
	t.Helper()
	var file struct {
		Services map[string]composeService `yaml:"services"`
	}
	data, err := os.ReadFile(filepath.Join(deployments, "docker-compose.yml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) == 0 {
		t.Fatal("docker-compose.yml has no services")
	}
	return file.Services
}

// flagOf returns the value of a flag in a command.
func flagOf(command []string, name string) string {
	if i := slices.Index(command, name); i >= 0 && i+1 < len(command) {
		return command[i+1]
	}
	return ""
}

// mount is one volume of a service: what, where to, and whether it may be written to.
func mount(volume string) (source, target string, writable bool) {
	parts := strings.Split(volume, ":")
	if len(parts) < 2 {
		return "", volume, true
	}
	return parts[0], parts[1], !slices.Contains(parts[2:], "ro")
}

func TestComposeRunsEveryTargetOnce(t *testing.T) {
	t.Parallel()
	serving := map[string]string{} // service by target
	for name, s := range readCompose(t) {
		if len(s.Command) == 0 || s.Command[0] != "serve" {
			if len(s.Profiles) == 0 {
				t.Errorf("%s serves no target and starts by itself: put it into a profile", name)
			}
			continue
		}
		target := flagOf(s.Command, "--target")
		if other, twice := serving[target]; twice {
			t.Errorf("target %s has two services: %s and %s", target, other, name)
		}
		serving[target] = name
		if name != target {
			t.Errorf("service %s runs the target %s: name it so", name, target)
		}
	}
	for _, target := range topology.Targets() {
		if serving[target.Name] == "" {
			t.Errorf("target %s has no service", target.Name)
		}
		delete(serving, target.Name)
	}
	for target, name := range serving {
		t.Errorf("service %s runs %q, which is no target", name, target)
	}
}

func TestComposeRunsOurImage(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t) {
		if s.Image != "candor:local" {
			t.Errorf("%s runs the image %q, want the one that is built here", name, s.Image)
		}
		if got := filepath.Join(s.Build.Context, s.Build.Dockerfile); got != filepath.Join("..", "deployments", "Dockerfile") {
			t.Errorf("%s is built from %s", name, got)
		}
		if _, err := os.Stat(filepath.Join(deployments, s.Build.Context, s.Build.Dockerfile)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	dockerfile, err := os.ReadFile(filepath.Join(deployments, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	last := string(dockerfile[strings.LastIndex(string(dockerfile), "\nFROM ")+1:])
	for _, want := range []string{"FROM scratch\n", "\nUSER 65532:65532\n", `VOLUME ["/data", "/keys"]`, `ENTRYPOINT ["/usr/bin/candor"]`} {
		if !strings.Contains(last, want) {
			t.Errorf("the last stage of the Dockerfile has no %q", want)
		}
	}
}

func TestComposePublishesNothingBeyondLoopback(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t) {
		if s.NetworkMode != "" && s.NetworkMode != "none" || s.Privileged {
			t.Errorf("%s has the network %q, privileged %t", name, s.NetworkMode, s.Privileged)
		}
		if len(s.Ports) > 0 && name != "api" && name != "frontdoor" && name != "sandbox" {
			t.Errorf("%s publishes %v: only the api, the front door for its proxy and the sandbox's pages are for the host", name, s.Ports)
		}
		for _, p := range s.Ports {
			// host address, host port, container port
			if parts := strings.Split(p, ":"); len(parts) != 3 || !net.ParseIP(parts[0]).IsLoopback() {
				t.Errorf("%s publishes %s: write 127.0.0.1:PORT:PORT", name, p)
			}
		}
	}
}

func TestComposeLendsKeysToBeReadOnly(t *testing.T) {
	t.Parallel()
	for name, s := range readCompose(t) {
		for _, v := range s.Volumes {
			source, target, writable := mount(v)
			if !strings.HasPrefix(source, "./") {
				continue // a volume of the containers' own
			}
			switch {
			case len(s.Profiles) > 0: // init makes the keys, and cli writes tokens: neither runs by itself
			case name == "api" && target == "/keys": // makes and shreds the keys of incidents
			case writable:
				t.Errorf("%s may write to %s: add :ro", name, source)
			}
			if name == "sandbox" && strings.Contains(source, "keys") || (name == "nats" || name == "frontdoor") && target == "/keys" {
				t.Errorf("%s sees %s, which it has no use for", name, source)
			}
		}
	}
}

// The settings are read as strictly as candor serve reads them.
func TestComposeSettingsAreValid(t *testing.T) {
	t.Parallel()
	keys := t.TempDir()
	for _, name := range []string{"twilio.secret", "sendgrid.key"} {
		path := filepath.Join(keys, "sandbox", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, s := range readCompose(t) {
		target := flagOf(s.Command, "--target")
		if target == "" {
			continue
		}
		config := ""
		for _, v := range s.Volumes {
			if source, to, _ := mount(v); to == flagOf(s.Command, "--config") {
				config = source
			}
		}
		if config == "./site/settings.yaml" {
			config = "candor.yaml" // of which it is made
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join(deployments, config))
			if err != nil {
				t.Fatal(err)
			}
			here := filepath.Join(t.TempDir(), "candor.yaml")
			if err := os.WriteFile(here, []byte(strings.ReplaceAll(string(data), "file:/keys/", "file:"+keys+"/")), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := app.Load(here)
			if err != nil {
				t.Fatal(err)
			}
			if err := cfg.Validate([]string{target}); err != nil {
				t.Error(err)
			}
			if cfg.Data != "/data" && target != "sandbox" || cfg.Keys != "/keys" && target != "sandbox" {
				t.Errorf("data in %s, keys in %s: want the image's volumes", cfg.Data, cfg.Keys)
			}
			if target != "nats" && target != "sandbox" && cfg.NATS.URL == "" {
				t.Error("no broker is named: it would run one of its own")
			}
			if target == "sms" && cfg.Frontdoor.PublicURL == "" {
				t.Error("nobody knows how the front door is reached: no receipt would come")
			}
			cfg.Providers.Twilio.CallbackURL = cfg.Frontdoor.PublicURL // as it is where the setting is left out
			if target == "sms" && cfg.Providers.Twilio.Validate() != nil || target == "email" && cfg.Providers.SendGrid.Validate() != nil {
				t.Errorf("the provider's account is incomplete: %v, %v", cfg.Providers.Twilio.Validate(), cfg.Providers.SendGrid.Validate())
			}
		})
	}
}
