package script

import (
	"fmt"
	"io"
	"strings"

	candorv1 "candor/proto/candor/v1"
)

// Text prints a script for a person to read.
func Text(w io.Writer, s *candorv1.Script) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Script %s in %s\n", s.GetVersion(), s.GetLanguage())
	for _, p := range s.GetParts() {
		fmt.Fprintf(&b, "\n%s\n\n%s\n", strings.ToUpper(strings.ReplaceAll(p.GetName(), "_", " ")), indented(p.GetText()))
	}
	if len(s.GetAnswers()) > 0 {
		b.WriteString("\nQUESTIONS AND ANSWERS\n")
	}
	for _, a := range s.GetAnswers() {
		fmt.Fprintf(&b, "\n%s\n%s\n", a.GetQuestion(), indented(a.GetAnswer()))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func indented(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}
