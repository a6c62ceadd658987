package notice

import (
	"fmt"

	"candor/pkg/roster"
)

// Email returns what customers of one variant share.
func (t *Text) Email(key VariantKey) Email { return t.variant(key).email }

// Values appends to dst a customer's values for the tags of the Email of its variant, which is key, in their order.
func (t *Text) Values(key VariantKey, c *roster.Customer, dst []string) ([]string, error) {
	v := t.variant(key)
	values, err := t.checked(c, v)
	if err != nil {
		return dst, err
	}
	for _, name := range v.vars {
		dst = append(dst, values[name])
	}
	return dst, nil
}

// RenderEmail returns the e-mail for a customer: the same bytes as its Email with its Values in place of the tags.
func (t *Text) RenderEmail(c *roster.Customer) (subject, text, html string, err error) {
	v := t.variant(t.Variant(c))
	values, err := t.checked(c, v)
	if err != nil {
		return "", "", "", err
	}
	return assemble(v.subject, &values), assemble(v.text, &values), assemble(v.html, &values), nil
}

// checked returns a customer's values if a message may be made of them.
func (t *Text) checked(c *roster.Customer, v *variant) (values [numValues]string, err error) {
	if v.err != nil {
		return values, fmt.Errorf("render the notice: %w", v.err)
	}
	values = t.values(c)
	size := 0
	for _, name := range v.vars {
		if name == noticeDate {
			return values, ErrUndated
		}
		size += len(tagOpen) + len(valueNames[name]) + len(tagClose) + len(values[name])
	}
	if size > MaxValueBytes {
		return values, ErrTooLong
	}
	return values, nil
}
