package sandbox_test

import (
	"fmt"
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"

	"candor/services/sandbox"
)

// browser visits the pages as a person does: with the address that the start printed, and a cookie from then on.
func (w *world) browser() *http.Client {
	w.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := &http.Client{Jar: jar, Transport: w.http.Transport}
	res, err := c.Get(w.box.PageURL())
	if err != nil {
		w.t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != 200 || strings.Contains(res.Request.URL.String(), "token") {
		w.t.Fatalf("the page's address leads to %d at %s", res.StatusCode, res.Request.URL)
	}
	return c
}

// page fetches a page and fails unless it is one.
func (w *world) page(path string) string {
	w.t.Helper()
	status, body := w.get(path)
	if status != 200 {
		w.t.Fatalf("GET %s = %d %s", path, status, body)
	}
	return body
}

func wants(t *testing.T, page string, want ...string) {
	t.Helper()
	for _, s := range want {
		if !strings.Contains(page, s) && !strings.Contains(html.UnescapeString(page), s) {
			_, main, _ := strings.Cut(page, "<main")
			t.Errorf("the page lacks %q:\n%.3000s", s, main)
		}
	}
}

// TestAMailIsReadAsItsOwnerReadsIt is about tags and sections.
func TestAMailIsReadAsItsOwnerReadsIt(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text, want string
		tags, sections   map[string]string
	}{
		{"a tag, wherever it stands", "-name-, dear -name-!", "Ana, dear Ana!", map[string]string{"-name-": "Ana"}, nil},
		{"literally", "$name$ .* -n-", "Ana x -n-", map[string]string{"$name$": "Ana", ".*": "x"}, nil},
		{"a tag without a value stays", "Dear -name-", "Dear -name-", map[string]string{"-nam-": "Ana"}, nil},
		{"an empty value", "Dear -name-.", "Dear .", map[string]string{"-name-": ""}, nil},
		{"a value is not searched for tags", "-a- -b-", "-b- x", map[string]string{"-a-": "-b-", "-b-": "x"}, nil},
		{"the longest tag wins", "-name-full-", "Ana María", map[string]string{"-name-": "no", "-name-full-": "Ana María"}, nil},
		{"a section", "Hello :what:", "Hello your name", nil, map[string]string{":what:": "your name"}},
		{"a tag that names a section", "Hello -what-", "Hello your name", map[string]string{"-what-": ":s1:"}, map[string]string{":s1:": "your name", ":s2:": "no"}},
		{"tags in a section", ":s1:", "Ana, your name", map[string]string{"-name-": "Ana"}, map[string]string{":s1:": "-name-, your name"}},
		{"characters of every kind", "-v-", "<b>\"ñ\" & 😀\n", map[string]string{"-v-": "<b>\"ñ\" & 😀\n"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := start(t)
			m := letter([]string{"a@example.com"}, []string{"n.1.mac"})
			m.Subject = "About " + tt.text
			m.Content = []*sgmail.Content{sgmail.NewContent("text/plain", tt.text), sgmail.NewContent("text/html", "<p>"+tt.text+"</p>")}
			m.Sections = tt.sections
			for tag, value := range tt.tags {
				m.Personalizations[0].SetSubstitution(tag, value)
			}
			w.mustMail(encode(m), 202)
			page := w.page("/mailboxes/0")
			wants(t, page, "<pre>"+html.EscapeString(tt.want)+"</pre>", "<h2>About "+html.EscapeString(tt.want)+"</h2>")
			if got := w.page("/mails/0"); got != "<p>"+tt.want+"</p>" {
				t.Errorf("HTML %q, want %q", got, "<p>"+tt.want+"</p>")
			}
		})
	}
}

func TestEachReaderOfABatchReadsTheirOwn(t *testing.T) {
	t.Parallel()
	w := start(t)
	m := letter([]string{"a@example.com", "b@example.com", "c@example.com"}, nil)
	m.Personalizations[0].SetSubstitution("-name-", "Ana")
	m.Personalizations[1].SetSubstitution("-name-", "Bo")
	m.Personalizations[1].SetSubstitution("-more-", "unused")
	m.Personalizations[1].Subject = "Only for Bo"
	m.Personalizations[2].To[0].Name = "Cy"
	m.SetReplyTo(sgmail.NewEmail("", "help@acme.example"))
	w.mustMail(encode(m), 202)
	wants(t, w.page("/mailboxes/0"), "Dear Ana, we are sorry.", "Acme &lt;notice@acme.example&gt;", "help@acme.example", "<h2>About your data</h2>", `<iframe src="/mails/0" sandbox`)
	wants(t, w.page("/mailboxes/1"), "Dear Bo, we are sorry.", "<h2>Only for Bo</h2>")
	wants(t, w.page("/mailboxes/2"), "Dear -name-, we are sorry.", "Cy &lt;c@example.com&gt;")
}

func TestAMailRunsAndFetchesNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.mustMail(simpleMail("a@example.com"), 202)
	for path, want := range map[string]string{"/mails/0": "sandbox; default-src 'none'", "/mailboxes/0": "default-src 'none'"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.box.URL()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.box.Token())
		res, err := w.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, want) || strings.Contains(got, "script") {
			t.Errorf("%s has policy %q", path, got)
		}
		if res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s may be kept on disk", path)
		}
	}
}

func TestPhonesAndMailboxesAreFound(t *testing.T) {
	t.Parallel()
	w := start(t)
	for i := range 130 {
		w.text(fmt.Sprintf("+44791112%04d", i), fmt.Sprintf("Your code is K7Q%03d.", i), "")
	}
	w.text("+447911120005", "A second one for you.", "")
	people := make([]string, 130)
	for i := range people {
		people[i] = fmt.Sprintf("p%03d@example.com", i)
	}
	m := letter(people, nil)
	for i, p := range m.Personalizations {
		p.SetSubstitution("-name-", fmt.Sprintf("K7Q%03d", i))
	}
	w.mustMail(encode(m), 202)

	link := regexp.MustCompile(`href="/(phones|mailboxes)/(\d+)"`)
	found := func(query string) (phones, mailboxes int) {
		for _, m := range link.FindAllStringSubmatch(w.page("/?q="+url.QueryEscape(query)), -1) {
			if m[1] == "phones" {
				phones++
			} else {
				mailboxes++
			}
		}
		return phones, mailboxes
	}
	for _, tt := range []struct {
		query             string
		phones, mailboxes int
	}{
		{"", 40, 40},
		{"+44 7911 120 007", 1, 0},
		{"20007", 1, 0},
		{"P007@Example.com", 0, 1},
		{"k7q007", 1, 1},
		{"K7Q00", 10, 10},
		{"second one", 1, 0},
		{"we are sorry", 0, 40},
		{"nobody", 0, 0},
		{"-", 0, 40}, // a tag's dashes
	} {
		if phones, mailboxes := found(tt.query); phones != tt.phones || mailboxes != tt.mailboxes {
			t.Errorf("%q finds %d phones and %d mailboxes, want %d and %d", tt.query, phones, mailboxes, tt.phones, tt.mailboxes)
		}
	}

	older := regexp.MustCompile(`href="(/\?[^"]*phones=[^"]*)">Older`)
	seen := map[string]bool{}
	for next := "/?q=K7Q"; ; {
		page := w.page(next)
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if m[1] == "phones" {
				seen[m[2]] = true
			}
		}
		more := older.FindStringSubmatch(page)
		if more == nil {
			break
		}
		next = html.UnescapeString(more[1])
	}
	if len(seen) != 130 {
		t.Errorf("leafing through all pages shows %d phones, want 130", len(seen))
	}
	wants(t, w.page("/phones/5"), "+447911120005", "Your code is K7Q005.", "A second one for you.", "1 segment, GSM-7", "2 messages")
	for _, path := range []string{"/phones/130", "/phones/x", "/phones/-1", "/mailboxes/130", "/mails/130", "/mails/x", "/other"} {
		if status, _ := w.get(path); status != 404 {
			t.Errorf("GET %s = %d, want 404", path, status)
		}
	}
}

func TestLongThreadsHavePages(t *testing.T) {
	t.Parallel()
	w := start(t)
	for i := range 60 {
		w.text("+447911123456", fmt.Sprintf("text %02d.", i), "")
		w.mustMail(simpleMail("a@example.com"), 202)
	}
	for path, lines := range map[string]string{"/phones/0": `class="bubble"`, "/mailboxes/0": "<li>"} {
		page := w.page(path)
		more := regexp.MustCompile(`href="(\?from=\d+)">Older`).FindStringSubmatch(page)
		if strings.Count(page, lines) != 50 || more == nil {
			t.Fatalf("%s shows %d, with a link to more: %v", path, strings.Count(page, lines), more)
		}
		if page = w.page(path + more[1]); strings.Count(page, lines) != 10 || strings.Contains(page, "Older") {
			t.Errorf("its second page shows %d, want the other 10", strings.Count(page, lines))
		}
	}
}

func TestTheHomePageSaysWhatHappened(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *sandbox.Config) { c.SendGrid.Suppressed = []string{"gone@example.com"}; c.KeepTexts = false })
	wants(t, w.page("/"), "Nothing has arrived yet")
	for range 2 {
		w.text("+447911123456", "hello", "n.1.mac")
	}
	w.mustMail(simpleMail("gone@example.com"), 202)
	w.mustMail([]byte(`{}`), 400)
	wants(t, w.page("/"), "<dt>told twice</dt><dd class=\"alarm\">1</dd>", "One notice was accepted a second time", "400 × 1", "without an id of Candor's", "gone@example.com")
	wants(t, w.page("/mailboxes/0"), "Dropped: the address is on the suppression list", "What this mail said was not kept")
	if w.truth().Email.TextsKept {
		t.Error("the truth says that texts are kept")
	}
	wants(t, w.page("/phones/0"), "hello") // Twilio's list needs it, so it is there
}

func TestTextsStopBeingKeptAtTheLimit(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *sandbox.Config) { c.TextBytes = 100 })
	w.mustMail(simpleMail("a@example.com"), 202)
	w.mustMail(simpleMail("b@example.com"), 202)
	wants(t, w.page("/mailboxes/0"), "Dear -name-")
	wants(t, w.page("/mailboxes/1"), "was not kept")
}

func TestFaultsAreSetOnThePage(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.browser()
	form := url.Values{"seed": {"9"}}
	for _, kind := range []string{
		"rate_limited", "server_error", "server_error_kept", "answer_lost", "reset", "slow", "redirect", "no_id", "late_tail", "stall", "stall_kept",
	} {
		form.Set("sms."+kind, "0")
		form.Set("email."+kind, "0")
	}
	form.Set("sms.reset", "0.25")
	send := func(form url.Values, site string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.box.URL()+"/faults", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Sec-Fetch-Site", site)
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return res.StatusCode
	}
	if status := send(form, "cross-site"); status != 403 {
		t.Errorf("another site's form = %d, want 403", status)
	}
	if status := send(form, "same-origin"); status != 200 {
		t.Fatalf("the page's own form = %d", status)
	}
	wants(t, w.page("/"), `name="sms.reset" value="0.25"`, `name="seed" value="9"`, "Faults (on)")
	form.Set("email.slow", "2")
	if status := send(form, "same-origin"); status != 400 {
		t.Errorf("a share of 2 = %d, want 400", status)
	}
	form.Set("off", "yes")
	if status := send(form, "same-origin"); status != 200 {
		t.Errorf("off = %d", status)
	}
	wants(t, w.page("/"), `name="sms.reset" value="0"`)
}
