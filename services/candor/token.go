package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"candor/pkg/config"
	"candor/pkg/token"
	candorv1 "candor/proto/candor/v1"
)

func tokenCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use: "token", GroupID: groupServe, Args: cobra.ArbitraryArgs, RunE: group,
		Short: "Make, list and revoke the tokens by which people sign in",
		Long: `Every request to candor serve carries a token, on this machine too. A token
belongs to one person or machine and has roles:

  admin      makes tokens, replays dead letters, shreds; decides nothing that
             is sent
  commander  declares, rejects, pauses, resumes, aborts, shreds, settles
  approver   approves or rejects what somebody else declared; pauses, aborts
  viewer     looks, as everybody else but dialers can
  dialer     takes calls from the queue, reads the script, finds one customer
  machine    declares drafts, for a playbook of a security tool

The name is what makes two people two: nobody approves their own draft, whatever
tokens they hold. Only an admin may make tokens; candor init made the first
admin's.`,
	}
	cmd.AddCommand(tokenCreateCommand(c), tokenListCommand(c), tokenRevokeCommand(c))
	return cmd
}

func roleNames() string {
	var names []string
	for _, r := range []token.Role{token.Admin, token.Commander, token.Approver, token.Viewer, token.Dialer, token.Machine} {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

func tokenCreateCommand(c *cli) *cobra.Command {
	var roles []string
	var out string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a token for a person or a machine",
		Long: `Makes a token and writes it to a new file that only its owner may read. It is
shown nowhere and kept nowhere else: Candor has its hash. Hand the file over by
a way that you would send a password by. A lost token is revoked, and another
one made.`,
		Example: `  candor token create ana --role commander --out ana.token
  candor token create ben --role approver --role viewer --out ben.token`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("whose token? give one name")
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&roles, "role", nil, "`ROLE` of the owner, once or several times: "+roleNames())
	cmd.Flags().StringVar(&out, "out", "", "new `FILE` for the token")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if out == "" {
			return usageError(cmd, "where to? --out names a new file: the token is shown nowhere else")
		}
		if _, err := os.Lstat(out); !errors.Is(err, fs.ErrNotExist) {
			return refusal(out+" is there already, and is not overwritten", "name another file with --out")
		}
		parsed, err := token.ParseRoles(roles)
		if err != nil {
			return usageError(cmd, "--role: %v", err)
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		req := &candorv1.CreateTokenRequest{Name: args[0]}
		for _, r := range parsed {
			req.Roles = append(req.Roles, candorv1.Role(candorv1.Role_value["ROLE_"+strings.ToUpper(string(r))]))
		}
		resp, err := s.CreateToken(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return err
		}
		t := resp.Msg.GetToken()
		if err := token.WriteFile(out, config.Secret(resp.Msg.GetSecret())); err != nil {
			return fmt.Errorf("the token of %s was made, but cannot be written (%w): revoke it with candor token revoke %s, and make another one", t.GetName(), err, t.GetId())
		}
		if asJSON {
			return c.proto(t)
		}
		c.out.printf("Token %s of %s (%s) is in %s, and nowhere else.\n", t.GetId(), t.GetName(), roleWords(t), out)
		return nil
	}
	return cmd
}

func roleWords(t *candorv1.Token) string {
	var words []string
	for _, r := range t.GetRoles() {
		words = append(words, candorv1.Word(r))
	}
	slices.Sort(words)
	return strings.Join(words, ", ")
}

func tokenListCommand(c *cli) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Args: none,
		Short: "List the tokens that are good",
		Long: `Lists the tokens that can sign in: id, owner, roles, and since when. The tokens
themselves are kept nowhere.`,
		Example: `  candor token list --token-file admin.token`,
	}
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.ListTokens(cmd.Context(), connect.NewRequest(&candorv1.ListTokensRequest{}))
		if err != nil {
			return err
		}
		rows := [][]cell{heads("ID", "NAME", "ROLES", "MADE")}
		for _, t := range resp.Msg.GetTokens() {
			if asJSON {
				if err := c.proto(t); err != nil {
					return err
				}
			}
			made := c.clock(t.GetCreatedAt())
			if t.GetCreatedAt() == nil {
				made = "by candor init"
			}
			rows = append(rows, []cell{tinted(cyan, t.GetId()), text(t.GetName()), text(roleWords(t)), text(made)})
		}
		if !asJSON {
			c.out.table("", rows)
		}
		return nil
	}
	return cmd
}

func tokenRevokeCommand(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke TOKEN-ID",
		Short: "End a token",
		Long: `Ends a token by its id, as candor token list shows it. The next request with it
is refused. What was done with it stays done, and keeps its owner's name.`,
		Example: `  candor token revoke 3f9a1c --token-file admin.token`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which token? give one id; candor token list shows them")
			}
			return nil
		},
	}
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		if _, err := s.RevokeToken(cmd.Context(), connect.NewRequest(&candorv1.RevokeTokenRequest{Id: args[0]})); err != nil {
			return err
		}
		c.out.printf("Token %s is revoked.\n", args[0])
		return nil
	}
	return cmd
}
