package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"candor/pkg/bus"
	"candor/pkg/keyfile"
	"candor/pkg/natsd"
	"candor/pkg/topology"
)

// Every target that runs as a process of its own has a NATS user: a seed in a file that only its owner may read, and the
// public key beside it, which is all that the broker needs.
const usersDir = "nats"

func seedFile(keys, user string) string { return filepath.Join(keys, usersDir, user+".seed") }

func publicFile(keys, user string) string { return filepath.Join(keys, usersDir, user+".pub") }

// natsUserNames are the users that the broker knows.
func natsUserNames() []string {
	names := append(topology.Guests(), topology.Several)
	for _, t := range topology.Targets() {
		if publish, _ := topology.Permissions(t.Name); publish != nil {
			names = append(names, t.Name)
		}
	}
	return names
}

// InitUsers makes the keys of the NATS users that have none.
func InitUsers(keys string) error {
	if err := os.MkdirAll(filepath.Join(keys, usersDir), 0o700); err != nil {
		return fmt.Errorf("keys of the nats users: %w", err)
	}
	for _, name := range natsUserNames() {
		if _, err := os.Stat(publicFile(keys, name)); err == nil {
			continue
		}
		public, seed, err := bus.NewUser()
		if err != nil {
			return err
		}
		if err := keyfile.Create(seedFile(keys, name), seed); err != nil {
			return fmt.Errorf("key of the nats user %s: %w", name, err)
		}
		if err := keyfile.Create(publicFile(keys, name), []byte(public+"\n")); err != nil {
			return fmt.Errorf("key of the nats user %s: %w", name, err)
		}
	}
	return nil
}

// natsUsers reads the public keys; what each user may do comes from the topology. Targets that came with a newer version
// get their keys here.
func natsUsers(keys string) ([]natsd.User, error) {
	if _, err := os.Stat(filepath.Join(keys, usersDir)); err == nil {
		if err := InitUsers(keys); err != nil {
			return nil, err
		}
	}
	var users []natsd.User
	for _, name := range natsUserNames() {
		public, err := os.ReadFile(publicFile(keys, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not made: that user cannot come in
		}
		if err != nil {
			return nil, fmt.Errorf("key of the nats user %s: %w", name, err)
		}
		publish, subscribe := topology.Permissions(name)
		users = append(users, natsd.User{Name: name, NKeyPublic: strings.TrimSpace(string(public)), Publish: publish, Subscribe: subscribe})
	}
	if len(users) == 0 {
		return nil, fmt.Errorf("nats.listen is set, but there are no keys in %s: run candor init", filepath.Join(keys, usersDir))
	}
	return users, nil
}
