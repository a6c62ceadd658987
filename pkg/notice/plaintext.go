package notice

import (
	"strconv"
	"strings"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/util"
)

// plainText writes a document as somebody would type it: paragraphs on one line each, since mail programs wrap them.
func plainText(doc ast.Node, source []byte) string {
	var b strings.Builder
	blocks(&b, doc, source, "")
	return strings.TrimSpace(b.String()) + "\n"
}

// blocks writes the blocks within n, each line after the first indented.
func blocks(b *strings.Builder, n ast.Node, source []byte, indent string) {
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Heading:
			words := inline(c, source)
			if c.Level <= 2 {
				words = strings.ToUpper(words)
			}
			if c.PreviousSibling() != nil && c.Level <= 2 {
				b.WriteString("\n")
			}
			line(b, words, indent)
			b.WriteString("\n")
		case *ast.List:
			items(b, c, source, indent)
			b.WriteString("\n")
		case *ast.Blockquote:
			blocks(b, c, source, indent+"> ")
		case *ast.ThematicBreak:
			line(b, "----", indent)
			b.WriteString("\n")
		case *ast.FencedCodeBlock:
			for i := range c.Lines().Len() {
				at := c.Lines().At(i)
				line(b, strings.TrimRight(string(at.Value(source)), "\n"), indent)
			}
			b.WriteString("\n")
		case *ast.TextBlock:
			line(b, inline(c, source), indent)
		default:
			line(b, inline(c, source), indent)
			b.WriteString("\n")
		}
	}
}

func line(b *strings.Builder, words, indent string) {
	for l := range strings.SplitSeq(words, "\n") {
		b.WriteString(indent + l + "\n")
	}
}

func items(b *strings.Builder, list *ast.List, source []byte, indent string) {
	number := list.Start
	for item := list.FirstChild(); item != nil; item = item.NextSibling() {
		bullet := "- "
		if list.IsOrdered() {
			bullet = strconv.Itoa(number) + ". "
			number++
		}
		var inner strings.Builder
		blocks(&inner, item, source, indent+strings.Repeat(" ", len(bullet)))
		words := strings.TrimRight(inner.String(), "\n")
		b.WriteString(indent + bullet + strings.TrimPrefix(words, indent+strings.Repeat(" ", len(bullet))) + "\n")
		if !list.IsTight && item.NextSibling() != nil {
			b.WriteString("\n")
		}
	}
}

// inline returns the words within n. A link to elsewhere is written out behind its words.
func inline(n ast.Node, source []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		switch c := c.(type) {
		case *ast.Text:
			b.WriteString(resolve(c.Value(source)))
			switch {
			case c.HardLineBreak():
				b.WriteString("\n")
			case c.SoftLineBreak():
				b.WriteString(" ")
			}
		case *ast.String:
			b.WriteString(resolve(c.Value))
		case *ast.CodeSpan:
			for t := c.FirstChild(); t != nil; t = t.NextSibling() {
				if t, ok := t.(*ast.Text); ok {
					b.Write(t.Value(source))
				}
			}
		case *ast.AutoLink:
			b.Write(c.Label(source))
		case *ast.Link:
			words, to := inline(c, source), string(c.Destination)
			b.WriteString(words)
			if strings.HasPrefix(to, "https:") && to != words {
				b.WriteString(" (" + to + ")")
			}
		default:
			b.WriteString(inline(c, source))
		}
	}
	return b.String()
}

// resolve reads the escapes and entities of Markdown.
func resolve(s []byte) string {
	var b strings.Builder
	for len(s) > 0 {
		i := strings.IndexAny(string(s), `\&`)
		if i < 0 {
			break
		}
		b.Write(s[:i])
		s = s[i:]
		if s[0] == '\\' && len(s) > 1 && util.IsPunct(s[1]) {
			b.WriteByte(s[1])
			s = s[2:]
			continue
		}
		end := strings.IndexByte(string(s), ';')
		if s[0] == '&' && end > 0 {
			entity := util.ResolveEntityNames(util.ResolveNumericReferences(s[:end+1]))
			b.Write(entity)
			s = s[end+1:]
			continue
		}
		b.WriteByte(s[0])
		s = s[1:]
	}
	b.Write(s)
	return b.String()
}
