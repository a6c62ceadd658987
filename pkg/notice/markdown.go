package notice

import (
	"bytes"
	"errors"
	"html"
	"regexp"
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/renderer"
	goldhtml "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"candor/pkg/playbook"
)

// The reader and the writer of Markdown; any number of goroutines may use them.
var (
	markdown = goldmark.DefaultParser()
	htmlPage = renderer.NewRenderer(renderer.WithNodeRenderers(util.Prioritized(goldhtml.NewRenderer(), 1000)))
)

// document reads Markdown.
func document(source []byte) ast.Node { return markdown.Parse(text.NewReader(source)) }

var (
	goodLink = regexp.MustCompile(`^(https://[^\s]+|tel:\+?[0-9]+|mailto:[^\s]+@[^\s]+)$`)
	logIn    = regexp.MustCompile(`(?i)log-?_?in|sign-?_?in|password|account`)
)

// objection returns what is wrong with a node; "" if nothing is.
func objection(n ast.Node, source []byte) (message, remedy string) {
	link := ""
	switch n := n.(type) {
	case *ast.HTMLBlock, *ast.RawHTML:
		return "HTML has no place here", "write it in Markdown, or a plain < as \\<"
	case *ast.Image:
		return "a picture, which many people cannot see", "say it in words"
	case *ast.CodeBlock:
		return "a line that is indented by four blanks becomes program code", "indent it less"
	case *ast.Link:
		link = string(n.Destination)
	case *ast.AutoLink:
		link = string(n.URL(source))
	default:
		return "", ""
	}
	switch {
	case strings.Contains(link, "{{"):
		return "", "" // looked at when it is filled in
	case strings.ContainsFunc(link, func(r rune) bool { return valueOf(r) != none }):
		return "a customer's own value in a link", "write it as text: a link tells everybody on its way"
	case logIn.MatchString(link):
		return "a link that looks as if it led to a log-in", "write the plain address of a page that everybody can read"
	case !goodLink.MatchString(link):
		return "a link to " + strconv.Quote(link), "link only to https:, tel: and mailto: addresses"
	}
	return "", ""
}

// checkMarkdown returns what must not be in a text.
func checkMarkdown(t playbook.Text) (mistakes []error) {
	source := []byte(t.String())
	at := 0
	_ = ast.Walk(document(source), func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		at = place(n, at)
		if message, remedy := objection(n, source); message != "" {
			mistakes = append(mistakes, t.Mistake(at, message, remedy))
		}
		return ast.WalkContinue, nil
	})
	return mistakes
}

// place returns where a node starts, or for one that does not know, where its first words do, or what came before it.
func place(n ast.Node, before int) int {
	switch n := n.(type) {
	case *ast.Text:
		return n.Segment.Start
	case *ast.RawHTML:
		if n.Segments.Len() > 0 {
			return n.Segments.At(0).Start
		}
	case *ast.AutoLink, *ast.Document:
		return before
	}
	if n.Type() == ast.TypeBlock && n.Lines() != nil && n.Lines().Len() > 0 {
		return n.Lines().At(0).Start
	}
	if n.FirstChild() != nil {
		return place(n.FirstChild(), before)
	}
	return before
}

// escapeMarkdown makes words mean themselves.
func escapeMarkdown(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if util.IsPunct(s[i]) {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// tagLike finds what could make a tag out of a customer's value, see value.tag.
var tagLike = regexp.MustCompile(`%[a-z_\x{E000}-\x{E0FF}]*%`)

// mail makes the e-mail of a variant from its filled-in subject and body.
func (t *Text) mail(subject, body string) *variant {
	source := []byte(body)
	doc := document(source)
	var bad error
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if message, remedy := objection(n, source); entering && message != "" {
			bad = errors.New(message + ", once facts and names are filled in; " + remedy)
			return ast.WalkStop, nil
		}
		return ast.WalkContinue, nil
	})
	if bad != nil {
		return &variant{err: bad}
	}
	subject = strings.Join(strings.Fields(subject), " ") // one line, whatever was filled in
	style(doc)
	var page bytes.Buffer
	if err := htmlPage.Render(&page, source, doc); err != nil {
		return &variant{err: err}
	}
	plain := plainText(doc, source)
	framed := t.frame(doc, source, page.String())
	for _, s := range []string{subject, plain, framed} {
		if found := tagLike.FindString(s); found != "" {
			return &variant{err: errors.New("two percent signs around a word read like a tag: write percent")}
		}
	}
	v := &variant{subject: split(subject), text: split(plain), html: split(framed)}
	for i, p := range v.html {
		v.html[i].value = p.value.inHTML()
	}
	v.email, v.vars = tagged(v)
	return v
}

const (
	margin    = "margin:0 0 16px"
	listStyle = "margin:0 0 16px;padding:0 0 0 24px"
)

// style gives the elements their looks one by one, since many mail programs drop style sheets.
func style(doc ast.Node) {
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		css := ""
		switch n := n.(type) {
		case *ast.Heading:
			switch n.Level {
			case 1:
				css = "margin:0 0 16px;font-size:26px;line-height:1.25"
			case 2:
				css = "margin:32px 0 12px;font-size:21px;line-height:1.3"
			default:
				css = "margin:24px 0 8px;font-size:18px;line-height:1.3"
			}
		case *ast.Paragraph:
			css = margin
		case *ast.List:
			css = listStyle
		case *ast.ListItem:
			css = "margin:0 0 8px"
		case *ast.Link:
			css = "color:inherit;text-decoration:underline"
		}
		if entering && css != "" {
			n.SetAttributeString("style", []byte(css))
		}
		return ast.WalkContinue, nil
	})
}

// frame makes a whole page: readable on a small screen, in the dark, enlarged, and aloud.
func (t *Text) frame(doc ast.Node, source []byte, body string) string {
	title := t.short
	if h, ok := doc.FirstChild().(*ast.Heading); ok {
		if words := inline(h, source); !strings.ContainsFunc(words, func(r rune) bool { return valueOf(r) != none }) {
			title = words
		}
	}
	direction := "ltr"
	switch base, _, _ := strings.Cut(t.language, "-"); base {
	case "ar", "fa", "he", "ur", "yi", "ps", "dv":
		direction = "rtl"
	}
	return `<!DOCTYPE html>
<html lang="` + html.EscapeString(t.language) + `" dir="` + direction + `">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="supported-color-schemes" content="light dark">
<meta name="format-detection" content="telephone=no">
<title>` + html.EscapeString(title) + `</title>
<style>
:root { color-scheme: light dark; }
@media (prefers-color-scheme: dark) { .page { background-color: #121212 !important; color: #f2f2f2 !important; } }
</style>
</head>
<body class="page" style="margin:0;padding:0;background-color:#ffffff;color:#1a1a1a">
<div class="page" role="article" lang="` + html.EscapeString(t.language) + `" dir="` + direction + `" style="max-width:600px;margin:0 auto;padding:24px 16px;background-color:#ffffff;color:#1a1a1a;font-family:Arial,Helvetica,sans-serif;font-size:17px;line-height:1.5;overflow-wrap:break-word">
` + body + `</div>
</body>
</html>
`
}

// tagged writes the e-mail with tags, and lists them.
func tagged(v *variant) (Email, []value) {
	var used [numValues]bool
	write := func(parts []part) string {
		var b strings.Builder
		for _, p := range parts {
			b.WriteString(p.literal)
			if p.value != none {
				b.WriteString(p.value.tag())
				used[p.value] = true
			}
		}
		return b.String()
	}
	e := Email{Subject: write(v.subject), Text: write(v.text), HTML: write(v.html)}
	var vars []value
	for i, u := range used {
		if u {
			vars = append(vars, value(i))
			e.Vars = append(e.Vars, value(i).tag())
		}
	}
	return e, vars
}
