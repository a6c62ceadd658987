package smtp

import (
	"context"
	"errors"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"candor/pkg/provider"
)

const (
	// closing is the relay's word that it hangs up.
	closing = 421
	// tryAgain is how long a temporary refusal is left alone: a relay names no time.
	tryAgain = time.Minute
)

// The stage stands in every reason but a recipient's, whose refusal says nothing about the others.
var stageNames = [...]string{
	atConnect: "connect_", atHello: "hello_", atTLS: "starttls_", atSignIn: "auth_", atReset: "reset_", atSender: "mail_", atRecipient: "",
	atData: "data_", atText: "text_",
}

// answerOf finds what the relay said. Its text is never shown: it quotes addresses.
func answerOf(err error) (*textproto.Error, bool) {
	var answer *textproto.Error
	ok := errors.As(err, &answer)
	return answer, ok && (answer.Code/100 == 4 || answer.Code/100 == 5)
}

// judge says what an error means for a letter that came as far as at.
func (s *Sender) judge(ctx context.Context, at stage, err error, l *letter) provider.Outcome {
	answer, answered := answerOf(err)
	switch {
	case answered:
		return s.classify(at, answer.Code, enhanced(answer.Code, answer.Msg))
	case errors.Is(err, errNoTLS):
		return provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_no_starttls"}
	case errors.Is(err, errNoSignIn):
		return provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_no_auth"}
	case errors.Is(err, errPublic):
		return provider.Outcome{Class: provider.Misconfigured, Reason: "smtp_public_without_tls"}
	}
	late := errors.Is(err, provider.ErrLate) || errors.Is(err, provider.ErrStalled)
	if ctx.Err() != nil && !late {
		err = ctx.Err()
	}
	o := l.commit.Failure(err)
	if o.Class == provider.NotSent && o.Reason == "not_written" {
		o.Reason = "smtp_" + stageNames[at] + "lost"
	}
	return o
}

// classify reads an answer that is a refusal: the message was certainly not taken.
func (s *Sender) classify(at stage, code int, enhanced string) provider.Outcome {
	o := provider.Outcome{Class: provider.Refused, Reason: "smtp_" + stageNames[at] + strconv.Itoa(code)}
	if enhanced != "" {
		o.Reason += "_" + strings.ReplaceAll(enhanced, ".", "_")
	}
	policy := strings.HasPrefix(enhanced, "5.7.")
	switch {
	case code/100 == 4:
		o.Class, o.RetryAfter = provider.NotSent, tryAgain
	case code == 500, code == 502, code == 503, code == 504, code == 521, code == 530, code == 534, code == 535, code == 538:
		// A host that does not want us, or does not speak as we do.
		o.Class = provider.Misconfigured
	case at <= atSender:
		o.Class = provider.Misconfigured
	case at == atRecipient && policy && !s.relayed.Load():
		// A relay that was not told to relay for us refuses each recipient so. Nobody may be given up for that.
		o.Class = provider.Misconfigured
	case at == atRecipient && !policy && (code == 501 || code == 550 || code == 551 || code == 553 || code == 556):
		o.Class = provider.BadAddress
	case at > atRecipient && code == 552:
		o.Class = provider.Defect // too large
	}
	return o
}

// enhanced returns the enhanced status code that an answer's text begins with, if it is one.
func enhanced(code int, text string) string {
	word, _, _ := strings.Cut(text, " ")
	word, _, _ = strings.Cut(word, "\n")
	parts := strings.Split(word, ".")
	if len(parts) != 3 || parts[0] != strconv.Itoa(code/100) {
		return ""
	}
	for _, p := range parts[1:] {
		if p == "" || len(p) > 3 || strings.Trim(p, "0123456789") != "" {
			return ""
		}
	}
	return word
}
