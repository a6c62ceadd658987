package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// mustAsk refuses to go on where nobody sits who could be asked; instead names the flags that say it in advance.
func (c *cli) mustAsk(cmd *cobra.Command, instead string) error {
	if c.asks {
		return nil
	}
	return usageError(cmd, "this asks before it does anything, and nobody can answer here: pass %s", instead)
}

// ask prints a question and returns whether the answer was the one wanted.
func (c *cli) ask(question, wanted string) error {
	c.err.printf("\n%s ", c.err.paint(bold, question))
	answer, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read your answer: %w", err)
	}
	if strings.EqualFold(strings.TrimSpace(answer), wanted) {
		return nil
	}
	return refusal("nothing was done: the answer was not "+wanted, "")
}
