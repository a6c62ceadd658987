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

// readLine asks for one line, so that it stands in no shell's history.
func (c *cli) readLine(question string) (string, error) {
	if c.asks {
		c.err.printf("%s", question)
	}
	line, err := bufio.NewReader(c.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read your answer: %w", err)
	}
	return strings.TrimSpace(line), nil
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
