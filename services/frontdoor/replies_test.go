package frontdoor

import (
	"context"
	"encoding/xml"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"candor/pkg/bus"
	"candor/pkg/pii"
	"candor/pkg/topology"
	candorv1 "candor/proto/candor/v1"
)

const (
	phone   = "+15005550006"
	service = "MG00000000000000000000000000000000" // of the starter's playbook
)

// inboundForm is a customer's text as Twilio tells of it.
func inboundForm(sid, body string, more ...string) string {
	v := url.Values{
		"MessageSid": {sid}, "SmsSid": {sid}, "AccountSid": {account}, "From": {phone}, "To": {"+18005550142"}, "Body": {body},
		"NumMedia": {"0"}, "NumSegments": {"1"}, "FromCountry": {"US"},
	}
	for i := 0; i < len(more); i += 2 {
		v.Set(more[i], more[i+1])
	}
	return v.Encode()
}

// text sends it and returns the HTTP status and what the customer is answered.
func (h *house) text(form string) (code int, answer string) {
	h.Helper()
	w := h.send(twilioRequest(TwilioInboundPath, form, signTwilio(token, publicURL+TwilioInboundPath, form)))
	if w.Code != http.StatusOK {
		return w.Code, ""
	}
	var twiml struct {
		XMLName xml.Name `xml:"Response"`
		Message []string `xml:"Message"`
	}
	if err := xml.Unmarshal(w.Body.Bytes(), &twiml); err != nil || len(twiml.Message) > 1 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/xml") {
		h.Errorf("%s is no TwiML with at most one message: %v", w.Body, err)
	}
	return w.Code, strings.Join(twiml.Message, "")
}

// api answers where customers are: the places by number.
func (h *house) api(places map[string][]*candorv1.CustomerPlace, failing ...error) {
	h.Helper()
	served := make(chan struct{})
	start(h, func(ctx context.Context) error {
		close(served)
		return h.bus.Serve(ctx, topology.Ask("api", "find"), "api", 2, func(_ context.Context, r bus.Request) (bus.Reply, error) {
			if strings.Contains(string(r.Data), phone[1:]) {
				h.Error("the question travels in the clear")
			}
			if len(failing) > 0 {
				return bus.Reply{}, failing[0]
			}
			var ask candorv1.PlaceRequest
			var find candorv1.FindRequest
			err := proto.Unmarshal(r.Data, &ask)
			if err != nil {
				return bus.Reply{}, err
			}
			plain, err := h.door.OpenRequest(ask.GetSealed())
			if err != nil {
				return bus.Reply{}, err
			}
			if err := proto.Unmarshal(plain, &find); err != nil || find.GetIncident() != "" {
				h.Errorf("the api is asked %v, %v", &find, err)
			}
			data, err := proto.Marshal(&candorv1.PlaceResponse{Places: places[find.GetQuery()]})
			return bus.Reply{Data: data}, err
		})
	})
	<-served
	for { // until the subscription is there
		_, err := h.bus.Request(h.Context(), topology.Ask("api", "find"), nil, nil)
		if !errors.Is(err, bus.ErrUnavailable) {
			return
		}
	}
}

func place(incident string, page, slot uint32) *candorv1.CustomerPlace {
	return &candorv1.CustomerPlace{Incident: incident, Page: page, Slot: slot}
}

func same(pb string) string { return pb }

func (h *house) suppressed() bool { return h.Suppressions.Has(sms, pii.NewPhone(phone)) }

func (h *house) calls() (requests []*candorv1.CallRequest, incidents []string) {
	h.Helper()
	_, err := h.bus.Read(h.Context(), topology.StreamCalls, "", 1, func(m bus.Stored) error {
		c := &candorv1.CallRequest{}
		if err := proto.Unmarshal(m.Data, c); err != nil {
			return err
		}
		id, _ := topology.ParseCallRequested(m.Subject)
		requests, incidents = append(requests, c), append(incidents, id)
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	return requests, incidents
}

func TestSTOPClosesTheChannelAndIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.declare("second", noon.Add(-time.Hour), same)
	h.declare("over", noon.Add(-2*time.Hour), same)
	h.event("over", noon, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "x"}}})
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place(inc, 3, 7), place("second", 1, 2), place("over", 1, 1), place("unheard-of", 1, 1)}})
	code, answer := h.text(inboundForm("SM1", "Stop!"))
	if code != http.StatusOK || !strings.Contains(answer, "Northwind") || !h.suppressed() {
		t.Errorf("%d %q, suppressed: %v", code, answer, h.suppressed())
	}
	stopped := func(incident string, page, slot uint32) said {
		return said{topology.Receipt(sms, incident, "w0", page), "twilio", 1, slot, candorv1.Result_RESULT_OPTED_OUT, "sms_stop", 0, ""}
	}
	want := map[said]int{stopped(inc, 3, 7): 1, stopped("second", 1, 2): 1}
	if got, _ := h.stored(); !maps.Equal(got, want) {
		t.Errorf("stored %v, want %v", got, want)
	}
	if code, again := h.text(inboundForm("SM1", "Stop!")); code != http.StatusOK || again != "" {
		t.Errorf("the same text again: %d %q", code, again)
	}
	if h.count("replies_total", "STOP") != 2 || h.count("opt_outs_unplaced_total") != 0 {
		t.Error("the texts are not counted")
	}
	nothingPersonal(h)
}

func TestSTOPHoldsWithoutTheAPI(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*house){
		"nobody answers": func(*house) {},
		"it fails":       func(h *house) { h.api(nil, errors.New("cannot find "+phone)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			prepare(h)
			if code, answer := h.text(inboundForm("SM1", "STOP")); code != http.StatusOK || answer != "" || !h.suppressed() {
				t.Errorf("%d %q, suppressed: %v", code, answer, h.suppressed())
			}
			if h.count("opt_outs_unplaced_total") != 1 {
				t.Error("it is not counted as unplaced")
			}
			nothingPersonal(h)
		})
	}
}

func TestSTARTTakesSTOPBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	h.text(inboundForm("SM1", "STOP"))
	if code, answer := h.text(inboundForm("SM2", "START")); code != http.StatusOK || answer == "" || h.suppressed() {
		t.Errorf("%d %q, suppressed: %v", code, answer, h.suppressed())
	}
	// The STOP of before, told late once more, is not a new one.
	if _, answer := h.text(inboundForm("SM1", "STOP")); answer != "" || h.suppressed() {
		t.Errorf("%q, suppressed: %v", answer, h.suppressed())
	}
}

func TestWhatTwilioHasAnsweredIsNotAnsweredAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	for _, tt := range []struct {
		sid, body, kind string
		suppressed      bool
	}{
		{"SM1", "STOP", "STOP", true},
		{"SM2", "a word of the account's settings", "START", false},
		{"SM3", "basta", "STOP", true},
		{"SM4", "HELP", "HELP", true},
	} {
		if code, answer := h.text(inboundForm(tt.sid, tt.body, "OptOutType", tt.kind)); code != http.StatusOK || answer != "" || h.suppressed() != tt.suppressed {
			t.Errorf("%s: %d %q, suppressed: %v", tt.sid, code, answer, h.suppressed())
		}
	}
}

func TestTheAnswerIsInTheNameAndLanguageOfWhoWrote(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare("older", noon.Add(-time.Hour), func(pb string) string {
		return strings.NewReplacer("Northwind", "Southwind & Co", "+18005550142", "+18005550199").Replace(pb)
	})
	h.declare(inc, noon, same)
	for _, tt := range []struct {
		sid, body, to, service, want, not string
	}{
		{"SM1", "HELP", "+18005550142", "", "Northwind", "Southwind"},
		{"SM2", "HELP", "+18005550199", "", "Southwind & Co", "Northwind"},
		{"SM3", "HELP", "+19995550000", service, "Northwind", "Southwind"},
		{"SM4", "HELP", "+19995550000", "", "Northwind", "Southwind"},
		{"SM5", "AYUDA", "+18005550142", "", "Llame", "Call"},
		{"SM6", "thank you", "+18005550142", "", "", "Northwind"},
	} {
		code, answer := h.text(inboundForm(tt.sid, tt.body, "To", tt.to, "MessagingServiceSid", tt.service))
		if code != http.StatusOK || !strings.Contains(answer, tt.want) || strings.Contains(answer, tt.not) {
			t.Errorf("%s: %d %q, want %q in it", tt.sid, code, answer, tt.want)
		}
	}
}

func TestWithoutAnIncidentNobodyIsAnswered(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.api(nil)
	for sid, body := range map[string]string{"SM1": "HELP", "SM2": "START", "SM3": "CALL", "SM4": "hello", "SM5": ""} {
		if code, answer := h.text(inboundForm(sid, body)); code != http.StatusOK || answer != "" {
			t.Errorf("%s: %d %q", body, code, answer)
		}
	}
	if code, _ := h.text(inboundForm("SM6", "STOP", "From", "72345")); code != http.StatusOK || h.Suppressions.Len() != 0 {
		t.Errorf("a short code: %d, %d suppressed", code, h.Suppressions.Len())
	}
}

func TestCALLAsksForACall(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare("older", noon.Add(-time.Hour), same)
	h.declare(inc, noon, same)
	h.declare("newest", noon.Add(time.Hour), same)
	h.declare("over", noon.Add(2*time.Hour), same)
	h.event("over", noon, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Aborted{Aborted: &candorv1.Aborted{Reason: "x"}}})
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place("older", 9, 9), place(inc, 3, 7), place("over", 1, 1)}})
	code, answer := h.text(inboundForm("SM1", "LLAMAR"))
	if code != http.StatusOK || !strings.Contains(answer, "Le llamaremos") {
		t.Errorf("%d %q", code, answer)
	}
	if _, again := h.text(inboundForm("SM1", "LLAMAR")); again != "" {
		t.Errorf("answered again: %q", again)
	}
	h.text(inboundForm("SM2", "CALL"))
	requests, incidents := h.calls()
	if len(requests) != 2 || incidents[0] != inc || incidents[1] != inc || requests[0].GetId() == requests[1].GetId() {
		t.Fatalf("asked for %v in %v", requests, incidents)
	}
	want := &candorv1.CallRequest{Id: hashed("SM1"), Customer: place(inc, 3, 7), AskedAt: requests[0].GetAskedAt(), AskedBy: "sms", Language: "es"}
	if !proto.Equal(requests[0], want) || !requests[0].GetAskedAt().AsTime().Equal(noon) || strings.Contains(want.GetId(), "SM1") {
		t.Errorf("asked for %v, want %v", requests[0], want)
	}
	if h.suppressed() {
		t.Error("suppressed")
	}
	nothingPersonal(h)
}

func TestCALLOfNobodyIsAnsweredWithHelp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	h.callIsAnsweredWithoutAPromise()
}

// callIsAnsweredWithoutAPromise texts CALL where nobody will call.
func (h *house) callIsAnsweredWithoutAPromise() {
	h.Helper()
	code, answer := h.text(inboundForm("SM2", "CALL"))
	if code != http.StatusOK || !strings.Contains(answer, "1-800-555-0142") || !strings.Contains(answer, "northwind.example/notice") ||
		strings.Contains(answer, "CALL") || strings.Contains(answer, "We will call") {
		h.Errorf("%d %q", code, answer)
	}
	if requests, _ := h.calls(); len(requests) != 0 {
		h.Errorf("asked for %v", requests)
	}
}

// withoutCalls cuts the section calls, which is the last but one of the starter's or the last.
func withoutCalls(pb string) string {
	before, rest, _ := strings.Cut(pb, "\ncalls:\n")
	for line := range strings.Lines(rest) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") && strings.TrimSpace(line) != "" {
			return before + "\n" + rest[strings.Index(rest, line):]
		}
	}
	return before + "\n"
}

// CALL was answered "We will call you" though the playbook has nobody called, and nobody was told who had asked.
func TestCALLWithoutCallsInThePlaybookPromisesNothing(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, withoutCalls)
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place(inc, 3, 7)}})
	h.callIsAnsweredWithoutAPromise()
	_, help := h.text(inboundForm("SM3", "HELP"))
	if !strings.Contains(help, "1-800-555-0142") || strings.Contains(help, "CALL") {
		t.Errorf("HELP offers a call: %q", help)
	}
	_, both := h.text(inboundForm("SM4", "please stop texting me, call me"))
	if requests, _ := h.calls(); len(requests) != 0 || strings.Contains(both, "will call") || both == "" || !h.suppressed() {
		t.Errorf("%q, %v, suppressed: %v", both, requests, h.suppressed())
	}
}

// "Please stop texting me, call me" was read as STOP alone: nobody called.
func TestNoTextsButACallIsBoth(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place(inc, 3, 7)}})
	code, answer := h.text(inboundForm("SM1", "please stop texting me, call me"))
	requests, incidents := h.calls()
	if code != http.StatusOK || !strings.Contains(answer, "no more texts") || !strings.Contains(answer, "We will call you") || !h.suppressed() ||
		len(requests) != 1 || incidents[0] != inc {
		t.Errorf("%d %q, suppressed: %v, asked for %v", code, answer, h.suppressed(), requests)
	}
	facts, _ := h.stored()
	if want := (said{topology.Receipt(sms, inc, "w0", 3), "twilio", 1, 7, candorv1.Result_RESULT_OPTED_OUT, "sms_stop", 0, ""}); facts[want] != 1 {
		t.Errorf("stored %v", facts)
	}
}

// Without the api the call cannot be asked for, but the opt-out holds; the repetition asks.
func TestNoTextsButACallClosesTheChannelFirst(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	if code, _ := h.text(inboundForm("SM1", "no texts please, call me")); code != http.StatusServiceUnavailable || !h.suppressed() {
		t.Errorf("%d, suppressed: %v", code, h.suppressed())
	}
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place(inc, 3, 7)}})
	if code, answer := h.text(inboundForm("SM1", "no texts please, call me")); code != http.StatusOK || !strings.Contains(answer, "We will call you") {
		t.Errorf("the repetition: %d %q", code, answer)
	}
}

// With Twilio's default settings nothing in a text says that Twilio has answered it.
func TestTwiliosOwnWordsAreNotAnsweredTwice(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *Config) { c.Twilio.AnswersWords = DefaultConfig().Twilio.AnswersWords })
	h.declare(inc, noon, same)
	h.api(nil)
	for i, tt := range []struct {
		body, to   string
		answered   bool
		suppressed bool
	}{
		{" stop ", "+18005550142", false, true},
		{"START", "+18005550142", false, false},
		{"help", "+18005550142", false, false},
		{"Info", "+18005550142", false, false},
		{"unsubscribe", "+18005550142", false, true},
		{"ALTO", "+18005550142", true, true},
		{"please stop", "+18005550142", true, true},
		{"stop.", "+18005550142", true, true},
		{"HELP", "72345", true, true}, // a short code, for which Twilio answers nobody
	} {
		code, answer := h.text(inboundForm("SM"+strconv.Itoa(i), tt.body, "To", tt.to))
		if code != http.StatusOK || (answer != "") != tt.answered || h.suppressed() != tt.suppressed {
			t.Errorf("%q: %d %q, suppressed: %v", tt.body, code, answer, h.suppressed())
		}
	}
}

// forgetful is REPLIES when it does not answer.
type forgetful struct {
	Replies
	fail atomic.Bool
}

func (f *forgetful) Create(ctx context.Context, key string, value []byte) (uint64, error) {
	if f.fail.Load() {
		return 0, errors.New("broker is away")
	}
	return f.Replies.Create(ctx, key, value)
}

// A START that could not be noted was obeyed, and obeyed again when Twilio repeated it, though STOP had come in between.
func TestASTARTThatIsToldAgainDoesNotUndoALaterSTOP(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	replies := &forgetful{Replies: h.Replies}
	h.Replies = replies
	h.text(inboundForm("SM1", "STOP"))
	replies.fail.Store(true)
	if code, _ := h.text(inboundForm("SM2", "START")); code != http.StatusServiceUnavailable || !h.suppressed() {
		t.Errorf("a START that cannot be noted: %d, suppressed: %v", code, h.suppressed())
	}
	replies.fail.Store(false)
	if code, _ := h.text(inboundForm("SM2", "START")); code != http.StatusOK || h.suppressed() {
		t.Errorf("its repetition: %d, suppressed: %v", code, h.suppressed())
	}
	h.text(inboundForm("SM3", "STOP"))
	if code, answer := h.text(inboundForm("SM2", "START")); code != http.StatusOK || answer != "" || !h.suppressed() {
		t.Errorf("told again after STOP: %d %q, suppressed: %v", code, answer, h.suppressed())
	}
}

// A crash between the note and the deed.
func TestACrashLosesASTARTAndKeepsTheOptOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	h.text(inboundForm("SM1", "STOP"))
	if _, err := h.Replies.Create(t.Context(), hashed("SM2"), []byte("START")); err != nil {
		t.Fatal(err)
	}
	if code, answer := h.text(inboundForm("SM2", "START")); code != http.StatusOK || answer != "" || !h.suppressed() {
		t.Errorf("noted and not done: %d %q, suppressed: %v", code, answer, h.suppressed())
	}
	if code, _ := h.text(inboundForm("SM3", "START")); code != http.StatusOK || h.suppressed() {
		t.Errorf("texted again: %d, suppressed: %v", code, h.suppressed())
	}
}

// The call queue takes nobody new when an incident is closing.
func TestCALLAtTheEndIsAnsweredWithHelp(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.event(inc, noon, &candorv1.BreachEvent{Event: &candorv1.BreachEvent_Closing{Closing: &candorv1.Closing{}}})
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place(inc, 3, 7)}})
	h.callIsAnsweredWithoutAPromise()
}

func TestCALLWithoutTheAPIIsAskedForAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	if code, _ := h.text(inboundForm("SM1", "CALL")); code != http.StatusServiceUnavailable {
		t.Errorf("answered with %d", code)
	}
	h.api(map[string][]*candorv1.CustomerPlace{phone: {place(inc, 3, 7)}})
	if code, answer := h.text(inboundForm("SM1", "CALL")); code != http.StatusOK || answer == "" {
		t.Errorf("the repetition: %d %q", code, answer)
	}
	if requests, _ := h.calls(); len(requests) != 1 {
		t.Errorf("asked for %v", requests)
	}
	nothingPersonal(h)
}

func TestATextToldManyTimesAtOnceIsAnsweredOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		answers int
	)
	for range 20 {
		wg.Go(func() {
			code, answer := h.text(inboundForm("SM1", "ALTO"))
			mu.Lock()
			defer mu.Unlock()
			if answer != "" {
				answers++
			}
			if code != http.StatusOK {
				t.Errorf("answered with %d", code)
			}
		})
	}
	wg.Wait()
	if answers != 1 || !h.suppressed() {
		t.Errorf("%d answers, suppressed: %v", answers, h.suppressed())
	}
}

// A crash between the note and the answer, and one between the deed and the note.
func TestACrashLosesAnAnswerAndNeverAnOptOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.declare(inc, noon, same)
	h.api(nil)
	if _, err := h.Replies.Create(t.Context(), hashed("SM1"), []byte("HELP")); err != nil {
		t.Fatal(err)
	}
	if code, answer := h.text(inboundForm("SM1", "HELP")); code != http.StatusOK || answer != "" {
		t.Errorf("noted and not answered: %d %q", code, answer)
	}
	if err := h.Suppressions.Add(t.Context(), sms, pii.NewPhone(phone), "STOP"); err != nil {
		t.Fatal(err)
	}
	if code, answer := h.text(inboundForm("SM2", "STOP")); code != http.StatusOK || answer == "" || !h.suppressed() {
		t.Errorf("done and not noted: %d %q", code, answer)
	}
}
