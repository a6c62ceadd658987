package playbook

import (
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"
)

func (c checker) sendgrid(s *SendGrid) {
	if s == nil {
		return
	}
	c.mailbox("providers.sendgrid", s.From, s.FromName, s.ReplyTo)
	requests, recipients := c.has("providers.sendgrid.requests_per_sec"), c.has("providers.sendgrid.recipients_per_sec")
	switch {
	case requests == recipients:
		c.badKey("providers.sendgrid", "write one of requests_per_sec and recipients_per_sec", "the rate is not clear")
	case requests && (s.RequestsPerSec <= 0 || s.RequestsPerSec > 1e6):
		c.bad("providers.sendgrid.requests_per_sec", "write the rate that the provider granted", "%v requests a second", s.RequestsPerSec)
	case recipients && (s.RecipientsPerSec <= 0 || s.RecipientsPerSec > 1e6):
		c.bad("providers.sendgrid.recipients_per_sec", "write the rate that the provider granted", "%v recipients a second", s.RecipientsPerSec)
	}
	if c.has("providers.sendgrid.batch") && (s.Batch < 1 || s.Batch > maxBatch) {
		c.bad("providers.sendgrid.batch", fmt.Sprintf("write 1 to %d", maxBatch), "%d people in one request", s.Batch)
	}
}

func (c checker) smtp(s *SMTP) {
	if s == nil {
		return
	}
	c.mailbox("providers.smtp", s.From, s.FromName, s.ReplyTo)
	if c.has("providers.smtp.messages_per_sec") && (s.MessagesPerSec <= 0 || s.MessagesPerSec > 1e6) {
		c.bad("providers.smtp.messages_per_sec", "write the rate that your relay takes", "%v messages a second", s.MessagesPerSec)
	}
}

// mailbox looks at whom e-mails come from and answers go to.
func (c checker) mailbox(path, from, fromName, replyTo string) {
	for _, address := range []struct{ key, value string }{{"from", from}, {"reply_to", replyTo}} {
		parsed, err := mail.ParseAddress(address.value)
		ascii := utf8.RuneCountInString(address.value) == len(address.value)
		if address.value != "" && (err != nil || parsed.Address != address.value || !ascii) {
			c.bad(path+"."+address.key, "write it like notices@example.com, in plain letters", "%s is no e-mail address", address.value)
		}
	}
	if strings.ContainsAny(fromName, ";,<>\"") {
		c.bad(path+".from_name", `leave out ; , < > and "`, "%s cannot stand before an address", fromName)
	}
}
