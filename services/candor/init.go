package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"candor/pkg/keyfile"
	"candor/pkg/playbook"
	"candor/pkg/token"
	"candor/pkg/vault"
	"candor/services/app"
	"candor/services/sandbox"
)

//go:embed starter/candor.yaml
var starterSettings string

const (
	adminFile    = "admin.token"
	schemaFile   = "playbook.schema.json" // the starter's playbook names it for editors
	keysFolder   = "candor-keys"
	sandboxKeys  = "sandbox"
	twilioSecret = "twilio.secret"
	sendgridKey  = "sendgrid.key"
)

func initCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use: "init [DIR]", GroupID: groupPrepare, Args: cobra.MaximumNArgs(1),
		Short: "Make a folder to start from: settings, texts, keys",
		Long: `Makes what a new installation needs, in DIR or here:

  candor.yaml           settings; as written, messages go to the sandbox
  playbook.yaml         texts in English and Spanish, limits, quiet hours, prices
  playbook.schema.json  with which an editor completes and checks the playbook
  facts.yaml            the facts of a breach that never happened
  roster.csv            twelve customers who do not exist
  update.md             news for customers, to be written when there are some
  candor-keys           the keys; a backup of candor-data must not take them along
  admin.token           the first admin's token, which makes everybody else's

It overwrites nothing: where one of these is, it stops before it makes any.
Whoever has the folder candor-keys can open the customers' data, and whoever has
admin.token can make tokens: both are readable by their owner alone.`,
		Example: `  candor init breach && cd breach`,
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return c.initFolder(dir)
		},
	}
}

func (c *cli) initFolder(dir string) error {
	if err := vacant(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if err := makeKeys(filepath.Join(dir, keysFolder)); err != nil {
		return err
	}
	bearer, line := token.NewAdmin()
	if err := token.WriteFile(filepath.Join(dir, adminFile), bearer); err != nil {
		return err
	}
	settings := strings.NewReplacer("{{first_admin}}", line, "{{account_sid}}", sandbox.DefaultAccountSID).Replace(starterSettings)
	if err := create(filepath.Join(dir, defaultConfig), []byte(settings), 0o600); err != nil {
		return err
	}
	if err := create(filepath.Join(dir, schemaFile), []byte(playbook.Schema), 0o640); err != nil {
		return err
	}
	for _, name := range starterFiles() {
		data, err := fs.ReadFile(playbook.Starter(), name)
		if err != nil {
			return fmt.Errorf("starter %s: %w", name, err)
		}
		if err := create(filepath.Join(dir, name), data, 0o640); err != nil {
			return err
		}
	}
	c.initDone(dir)
	return nil
}

func starterFiles() []string {
	return []string{"playbook.yaml", "facts.yaml", "roster.csv", "update.md"}
}

// vacant refuses a folder that holds anything of what would be made.
func vacant(dir string) error {
	var there []string
	for _, name := range append([]string{defaultConfig, adminFile, keysFolder, schemaFile}, starterFiles()...) {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			there = append(there, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look into %s: %w", dir, err)
		}
	}
	if len(there) == 0 {
		return nil
	}
	return refusal(fmt.Sprintf("%s holds %s already, and init overwrites nothing", dir, strings.Join(there, ", ")),
		"name a new folder, candor init DIR, or move these away")
}

func makeKeys(keys string) error {
	if err := vault.Init(keys); err != nil {
		return err
	}
	if err := app.InitUsers(keys); err != nil {
		return err
	}
	account := sandbox.DefaultConfig()
	dir := filepath.Join(keys, sandboxKeys)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keys of the sandbox: %w", err)
	}
	for name, secret := range map[string]string{twilioSecret: account.Twilio.AuthToken.Reveal(), sendgridKey: account.SendGrid.APIKey.Reveal()} {
		if err := keyfile.Create(filepath.Join(dir, name), []byte(secret+"\n")); err != nil {
			return fmt.Errorf("keys of the sandbox: %w", err)
		}
	}
	return nil
}

func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the user names the folder
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

func (c *cli) initDone(dir string) {
	c.out.line("Made in " + dir + ":")
	c.out.table("  ", [][]cell{
		{tinted(cyan, "candor.yaml"), text("settings; messages go to the sandbox until you name accounts")},
		{tinted(cyan, "playbook.yaml"), text("what is said, to whom, how fast: change what is the sample's")},
		{tinted(cyan, schemaFile), text("with which an editor completes and checks the playbook")},
		{tinted(cyan, "facts.yaml"), text("what happened this time")},
		{tinted(cyan, "roster.csv"), text("twelve customers who do not exist")},
		{tinted(cyan, "update.md"), text("news for customers, to be written when there are some")},
		{tinted(cyan, "candor-keys"), text("the keys; keep them apart from backups of candor-data")},
		{tinted(cyan, "admin.token"), text("the first admin's token")},
	})
	c.out.line("\nWhat next:")
	if dir != "." {
		c.out.line("  cd " + dir)
	}
	c.out.line(`  candor plan --roster roster.csv                 who would be told what, when, at what price
  candor serve --target all,sandbox               run it; then, in another window:
  export CANDOR_TOKEN_FILE=admin.token
  candor token create ana --role commander --out ana.token
  candor token create ben --role approver --out ben.token
  candor declare sample-1 --roster roster.csv --token-file ana.token
  candor approve sample-1 --token-file ben.token  the second person
  candor watch sample-1 --token-file ana.token`)
}
