package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"candor/pkg/playbook"
	candorv1 "candor/proto/candor/v1"
)

func updateCommand(c *cli) *cobra.Command {
	var file, at, audience string
	var withNext, dryRun, asJSON bool
	cmd := &cobra.Command{
		Use: "update ID", GroupID: groupTouch, Args: id,
		Short: "Draft news for customers, or a correction of what they were told",
		Long: `Drafts an update: a file with a title and, by language, what customers get by text
message and e-mail. Shows who would get it and when, what it costs, and the words
as customers would read them, masked. A second person approves it with candor
approve, and what runs already goes on meanwhile.

The file begins with settings between two lines ---, and then has the e-mail in
Markdown, each language after a line of its own. candor init writes one to start
from. In short:

    ---
    title: What we found since Monday
    sms:
      en: "{{organisation.short_name}}: we know more. Your code is {{code}}."
    email:
      en: "What we know now"
    ---
    <!-- en -->
    Dear {{given_name}}, …

A line corrects: w1 makes it a correction of what went out as w1: it goes to those
who got that. Another audience is named by audience: in the file, or --audience.
Of nothing said, it goes to everybody who was told.

It goes out once it is approved; or at the hour that --at names, by the clock of
the incident unless the hour has a zone; or, --with-next, in place of the next
follow-up. Each customer gets it by their own clock, at the hours of the playbook's
first follow-up on that channel; on a channel that no follow-up uses, at those of
the first notice.`,
		Example: `  candor update breach-2026-11 -f update.md --dry-run
  candor update breach-2026-11 -f update.md --at "2026-12-01 10:00"
  candor update breach-2026-11 -f update.md --with-next --audience "told and data has payment_card"`,
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "`FILE` with the news; - for standard input")
	cmd.Flags().StringVar(&at, "at", "", "`TIME` at which it goes out: 2026-12-01 10:00 by the incident's clock, or 2026-12-01T10:00:00-05:00")
	cmd.Flags().BoolVar(&withNext, "with-next", false, "send it in place of the next follow-up")
	cmd.Flags().StringVar(&audience, "audience", "", "who gets it, an `EXPRESSION` as in a playbook; else the file's")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what it comes to, and draft nothing")
	jsonFlag(cmd, &asJSON)
	to := remoteFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case file == "":
			return usageError(cmd, "what news? name the file with -f")
		case at != "" && withNext:
			return usageError(cmd, "--at or --with-next: choose one")
		}
		words, err := c.newsFile(file)
		if err != nil {
			return err
		}
		s, err := c.connect(cmd, to)
		if err != nil {
			return err
		}
		req := &candorv1.UpdateRequest{Incident: args[0], Text: string(words), WithNext: withNext, Audience: audience, DryRun: dryRun}
		if at != "" {
			place, err := s.placeFor(cmd.Context(), args[0], at)
			if err != nil {
				return err
			}
			t, err := momentIn(at, place)
			if err != nil {
				return usageError(cmd, "--at %s: %v", at, err)
			}
			req.At = timestamppb.New(t)
		}
		resp, err := s.Update(cmd.Context(), connect.NewRequest(req))
		if err != nil {
			return inFile(nameOf(file), err)
		}
		if asJSON {
			return c.proto(resp.Msg)
		}
		c.drafted(cmd.Context(), s, args[0], resp.Msg, dryRun)
		return nil
	}
	return cmd
}

func (c *cli) newsFile(path string) ([]byte, error) {
	read := func() ([]byte, error) { return os.ReadFile(path) } //nolint:gosec // the user names the file
	if path == "-" {
		read = func() ([]byte, error) { return io.ReadAll(c.in) }
	}
	data, err := read()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &failure{code: exitFailed, what: "there is no file " + path, remedy: "candor update --help shows what stands in one", cause: err}
	case err != nil:
		return nil, err
	}
	what, remedy := "", "candor update --help shows what stands in one"
	switch {
	case len(data) == 0:
		what = "there is nothing in it"
	case len(data) > newsAtMost:
		what, remedy = "more than 256 kB", "write a shorter text"
	case !utf8.Valid(data):
		what, remedy = "this is no text in UTF-8", "save it as UTF-8"
	default:
		return data, nil
	}
	return nil, &playbook.MistakeError{File: nameOf(path), Line: 1, Column: 1, Message: what, Remedy: remedy}
}

// newsAtMost is how many bytes of news the api takes.
const newsAtMost = 256 << 10

// nameOf is a file as a person reads it.
func nameOf(path string) string {
	if path == "-" {
		return "standard input"
	}
	return path
}

// placeFor returns the clock by which somebody meant a moment: the incident's, unless the moment has its own zone.
func (s *client) placeFor(ctx context.Context, name, moment string) (*time.Location, error) {
	if hasZone(moment) {
		return time.UTC, nil
	}
	resp, err := s.GetTimeline(ctx, connect.NewRequest(&candorv1.GetTimelineRequest{Incident: name}))
	if err != nil {
		return nil, err
	}
	return placeOf(resp.Msg.GetTimeline().GetTimeZone()), nil
}

// mistakeLine is a mistake as the api writes it: the file is called update there.
var mistakeLine = regexp.MustCompile(`^(?:.*\s)?update(?:\.md)?:(\d+):(\d+): (.*)$`)

// inFile says where in the user's file the api found mistakes.
func inFile(file string, err error) error {
	var refused *connect.Error
	if !errors.As(err, &refused) || refused.Code() != connect.CodeInvalidArgument {
		return err
	}
	var mistakes []error
	for l := range strings.SplitSeq(refused.Message(), "\n") {
		m := mistakeLine.FindStringSubmatch(l)
		if m == nil {
			continue
		}
		line, _ := strconv.Atoi(m[1])   // digits, as the expression has it
		column, _ := strconv.Atoi(m[2]) // as above
		what, remedy, _ := strings.Cut(m[3], "; ")
		mistakes = append(mistakes, &playbook.MistakeError{File: file, Line: line, Column: column, Message: what, Remedy: remedy})
	}
	if len(mistakes) == 0 {
		return err
	}
	return errors.Join(mistakes...)
}

// drafted shows an update, and what the second person types.
func (c *cli) drafted(ctx context.Context, s *client, name string, resp *candorv1.UpdateResponse, dryRun bool) {
	a := resp.GetAddition()
	c.addition(&candorv1.Incident{Id: name}, a, c.setting(ctx, s, name), prefix(a))
	c.messages(everyText(resp.GetPreview()))
	if wave := resp.GetWaitsFor(); wave != "" {
		c.out.line("\n" + c.out.paint(yellow, wrap("It corrects "+a.GetAddition().GetCorrects()+", and waits until that has gone out to everybody: wave "+wave+" has not.", c.out.textWidth(), "")))
	}
	if dryRun {
		c.out.line("\nNothing is drafted: this was a trial.")
		return
	}
	c.out.printf("\nNobody gets it before a second person approves it. What next: a second person runs\n  %s\n", approveLine(name, a))
}
