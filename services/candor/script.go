package main

import (
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	candorv1 "candor/proto/candor/v1"
)

func scriptCommand(c *cli) *cobra.Command {
	var language string
	var kinds []string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "script ID", GroupID: groupCall, Args: id,
		Short: "Print what an agent says, and the answers to what customers ask",
		Long: `Prints the call script of an incident with its questions and answers, as the
playbook has them, for agents who call and for those who are called: they read it
before the first notice goes out.

With --kind it shows the answers for somebody who lost those kinds of data, and
without it those for all. The version names the approved words: what an agent read
can be proved.`,
		Example: `  candor script breach-2026-11
  candor script breach-2026-11 --language es --kind payment_card --kind password`,
	}
	cmd.Flags().StringVar(&language, "language", "", "`LANGUAGE` as a tag, such as es; the playbook's default if not named")
	cmd.Flags().StringArrayVar(&kinds, "kind", nil, "`KIND` of data that the customer lost, such as payment_card, once or several times")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		resp, err := s.GetScript(cmd.Context(), connect.NewRequest(&candorv1.GetScriptRequest{Incident: args[0], Language: language, Kinds: kinds}))
		if err != nil {
			return err
		}
		script := resp.Msg.GetScript()
		if asJSON {
			return c.proto(script)
		}
		c.script(script)
		if language != "" && !strings.EqualFold(language, script.GetLanguage()) {
			c.err.printf("There is no script in %s: this is the one in %s.\n", quoted(language)[0], script.GetLanguage())
		}
		return nil
	}
	return cmd
}

func (c *cli) script(s *candorv1.Script) {
	w := c.out
	say := func(heading, words string) {
		w.printf("\n%s\n", w.paint(bold, heading))
		for _, line := range quoted(words) {
			w.line(strings.TrimRight("  "+wrap(line, w.textWidth()-2, "  "), " "))
		}
	}
	w.printf("%s, in %s\n", w.paint(bold, "Script "+s.GetVersion()), s.GetLanguage())
	for _, p := range s.GetParts() {
		heading := plain(p.GetName())
		say(strings.ToUpper(heading[:1])+heading[1:], p.GetText())
	}
	if len(s.GetAnswers()) > 0 {
		w.printf("\n%s\n", w.paint(cyan, "Questions and answers"))
	}
	for _, a := range s.GetAnswers() {
		say(strings.Join(quoted(a.GetQuestion()), " "), a.GetAnswer())
	}
}
