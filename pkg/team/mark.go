package team

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"

	candorv1 "candor/proto/candor/v1"
)

const markBytes = 8

// Mark stands for an address, a URL or a secret in a playbook that is stored: the same value has the same mark, under the key
// that the vault keeps for the incident's team.
func Mark(key []byte, value string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(value))
	return "sealed:" + hex.EncodeToString(mac.Sum(nil)[:markBytes])
}

// Digest names what is to be sealed: the same addresses have the same one. It is made of the marks alone, which tell nobody
// anything who has no key.
func Digest(a *candorv1.TeamAddresses) string {
	marks := slices.Sorted(maps.Keys(a.GetAddresses()))
	sum := sha256.Sum256([]byte(strings.Join(marks, "\n")))
	return hex.EncodeToString(sum[:16])
}
