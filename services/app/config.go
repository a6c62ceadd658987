// Package app wires services together: it is the only place that knows all of them.
//
// In: the settings and the targets that the command line names   Out: running services
// Crash: holds nothing; what was opened last is closed first.
package app

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"candor/pkg/config"
	"candor/pkg/httpd"
	"candor/pkg/token"
	"candor/pkg/topology"
	"candor/services/api"
	"candor/services/calls"
	"candor/services/email"
	"candor/services/email/sendgrid"
	"candor/services/email/smtp"
	"candor/services/followup"
	"candor/services/frontdoor"
	"candor/services/ledger"
	"candor/services/planner"
	"candor/services/sandbox"
	"candor/services/sms"
	"candor/services/sms/twilio"
	"candor/services/team"
)

// Config is candor.yaml.
type Config struct {
	// Data is the folder of the broker; Keys that of the keys, which must lie elsewhere than backups of Data.
	Data string `yaml:"data"`
	Keys string `yaml:"keys"`
	// FirstAdmin stands for the first admin's token, as candor init wrote it.
	FirstAdmin string           `yaml:"first_admin"`
	Clock      Clock            `yaml:"clock"`
	NATS       NATS             `yaml:"nats"`
	HTTP       httpd.Config     `yaml:"http"`
	API        api.Config       `yaml:"api"`
	Ledger     ledger.Config    `yaml:"ledger"`
	Planner    planner.Config   `yaml:"planner"`
	Frontdoor  frontdoor.Config `yaml:"frontdoor"`
	Calls      calls.Config     `yaml:"calls"`
	SMS        sms.Config       `yaml:"sms"`
	Email      email.Config     `yaml:"email"`
	Team       team.Config      `yaml:"team"`
	Followup   followup.Config  `yaml:"followup"`
	Providers  Providers        `yaml:"providers"`
	Sandbox    sandbox.Config   `yaml:"sandbox"`
}

// NATS says where the broker is.
type NATS struct {
	// URL of brokers that run elsewhere; empty runs one inside this process.
	URL string `yaml:"url"`
	// Listen is where the broker inside this process takes other processes; empty for none.
	Listen string `yaml:"listen"`
	// FreeSpaceMark in bytes: below it nothing new is sent. 0 takes the larger of 1 GB and 5 % of the disk.
	FreeSpaceMark uint64 `yaml:"free_space_mark"`
}

// Providers are the accounts that messages go through.
type Providers struct {
	Twilio   twilio.Config   `yaml:"twilio"`
	SendGrid sendgrid.Config `yaml:"sendgrid"`
	// SMTP is used if it has a host.
	SMTP smtp.Config `yaml:"smtp"`
}

// DefaultConfig returns the settings of one process on one machine, without any account.
func DefaultConfig() Config {
	c := Config{
		Data: "candor-data", Keys: "candor-keys",
		HTTP: httpd.DefaultConfig(), API: api.DefaultConfig(), Ledger: ledger.DefaultConfig(), Planner: planner.DefaultConfig(), Frontdoor: frontdoor.DefaultConfig(), Calls: calls.DefaultConfig(), SMS: sms.DefaultConfig(), Email: email.DefaultConfig(), Team: team.DefaultConfig(), Followup: followup.DefaultConfig(),
		Providers: Providers{Twilio: twilio.DefaultConfig(), SendGrid: sendgrid.DefaultConfig(), SMTP: smtp.DefaultConfig()},
		Sandbox:   sandbox.DefaultConfig(),
	}
	c.HTTP.Addr = "127.0.0.1:8420"
	c.Sandbox.Listen = "127.0.0.1:8421"
	c.Providers.SendGrid.BatchSize = sendgrid.MaxBatch // the playbook decides, up to what the provider takes
	return c
}

// Load reads candor.yaml. Paths in it are relative to the file, those of secrets too.
func Load(path string) (Config, error) {
	c := DefaultConfig()
	if err := config.Load(path, &c); err != nil {
		return Config{}, err
	}
	dir := filepath.Dir(path)
	for _, p := range []*string{&c.Data, &c.Keys, &c.Providers.SMTP.CA} {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(dir, *p)
		}
	}
	return c, nil
}

// All are the targets that candor serve runs when none is named: everything but the sandbox.
func All() []string {
	var names []string
	for _, t := range topology.Targets() {
		if t.Name != "sandbox" && t.Name != "nats" {
			names = append(names, t.Name)
		}
	}
	return names
}

// ParseTargets reads a list such as sms,email or all,sandbox.
func ParseTargets(list string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "all" {
			names = append(names, All()...)
			continue
		}
		known := slices.ContainsFunc(topology.Targets(), func(t topology.Target) bool { return t.Name == name })
		if !known {
			return nil, fmt.Errorf("unknown target %q: candor targets lists them", name)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Validate says what is wrong with the settings for the targets, all at once: the error joins one for each mistake.
func (c Config) Validate(targets []string) error {
	var errs []error
	check := func(section string, err error) { errs = append(errs, mistakes(section, err)...) }
	has := func(t string) bool { return slices.Contains(targets, t) }
	check("clock", c.validateClock(targets))
	c.validateProviders(targets, check)
	if has("sms") {
		check("sms", c.SMS.Validate())
	}
	if has("email") {
		check("email", c.Email.Validate())
	}
	if has("followup") {
		check("followup", c.Followup.Validate())
	}
	if has("team") {
		check("team", c.Team.Validate())
	}
	if has("sandbox") {
		check("sandbox", c.Sandbox.Validate())
	}
	if has("frontdoor") {
		check("frontdoor", c.Frontdoor.Validate())
	}
	if has("ledger") {
		check("ledger", c.Ledger.Validate())
	}
	if has("calls") {
		check("calls", c.Calls.Validate())
	}
	if has("planner") {
		check("planner", c.Planner.Validate())
	}
	if has("api") {
		check("api", c.API.Validate())
		check("http", c.HTTP.Validate())
	}
	if has("api") || has("calls") {
		_, err := token.NewStore(nil, c.FirstAdmin, nil) // reads the line, and asks nobody yet
		check("first_admin", err)
	}
	if has("nats") && c.NATS.URL != "" {
		errs = append(errs, errors.New("nats.url is set, but the target nats is a broker itself: leave one of them out"))
	}
	if has("nats") && c.NATS.Listen == "" {
		errs = append(errs, errors.New("the target nats needs nats.listen, such as 0.0.0.0:4222"))
	}
	if _, _, err := net.SplitHostPort(c.NATS.Listen); err != nil && c.NATS.Listen != "" {
		errs = append(errs, fmt.Errorf("nats.listen is %q: give host:port, such as 0.0.0.0:4222", c.NATS.Listen))
	}
	return errors.Join(errs...)
}
