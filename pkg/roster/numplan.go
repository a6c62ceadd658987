package roster

import (
	"encoding/binary"
	"fmt"
	"regexp/syntax"
	"slices"
	"strconv"
	"sync"

	"github.com/nyaruka/phonenumbers"
)

// The library decides about a number by trying dozens of regular expressions one after the other, 5 to 15 µs a number.
// Here the same expressions, read from the library's own metadata, are followed all at once, digit by digit, by one lazily
// built automaton per calling code: the same verdict in 0.1 µs. What is not plain goes to the library, and a property test
// holds the two together.

// plan is what the metadata says about one calling code.
type plan struct {
	code    int
	digits  string
	regions []planRegion // in the order in which the library asks them
	// progs are the compiled expressions of all regions; an automaton follows them together.
	progs []*syntax.Prog
	// prefix[i] says that an expression only has to match the start of a number.
	prefix []bool
	// plain[d] says that a number that starts with digit d cannot start with a national prefix, for the region that parses
	// international numbers of this code.
	plain [10]bool
}

// planRegion holds positions in plan.progs, -1 where the metadata has nothing.
type planRegion struct {
	leading  int
	general  int
	kinds    [10]planDesc
	sameBoth bool // mobile and fixed-line numbers look the same
	length   []int32
}

type planDesc struct {
	prog   int
	length []int32
}

// The order in which the library asks for the kinds; fixed line and mobile come last.
var planKinds = [10]phonenumbers.PhoneNumberType{
	phonenumbers.PREMIUM_RATE, phonenumbers.TOLL_FREE, phonenumbers.SHARED_COST, phonenumbers.VOIP, phonenumbers.PERSONAL_NUMBER,
	phonenumbers.PAGER, phonenumbers.UAN, phonenumbers.VOICEMAIL, phonenumbers.FIXED_LINE, phonenumbers.MOBILE,
}

// national is what a region adds for numbers written without a calling code.
type national struct {
	plan *plan
	// plain[d] says that a number that starts with digit d starts with neither an international nor a national prefix.
	plain [10]bool
	// longest is the length of the region's longest number; a longer one that starts with the calling code is an international one.
	longest int
}

// world is read-only once it is loaded, and the same for everybody.
var worldPlans = sync.OnceValues(loadPlans)

type world struct {
	codes    map[int]*plan
	national map[string]national
}

func loadPlans() (*world, error) {
	coll, err := phonenumbers.MetadataCollection()
	if err != nil {
		return nil, fmt.Errorf("read numbering plans: %w", err)
	}
	meta := map[string]*phonenumbers.PhoneMetadata{}
	for _, m := range coll.GetMetadata() {
		if m.GetId() != "001" {
			meta[m.GetId()] = m
		}
	}
	w := &world{codes: map[int]*plan{}, national: map[string]national{}}
	for code := range phonenumbers.GetSupportedCallingCodes() {
		p := &plan{code: code, digits: strconv.Itoa(code)}
		if p.load(meta) {
			w.codes[code] = p
		}
	}
	for region, m := range meta {
		p := w.codes[int(m.GetCountryCode())]
		if p == nil {
			continue
		}
		n := national{plan: p, longest: longest(m)}
		idd, err := compile(m.GetInternationalPrefix())
		if err != nil {
			continue
		}
		own := cannotStart(m.GetNationalPrefixForParsing())
		for d := range n.plain {
			n.plain[d] = own[d] && !canStart(idd, byte('0'+d))
		}
		w.national[region] = n
	}
	return w, nil
}

// load reads the regions of a calling code; false leaves the code to the library.
func (p *plan) load(meta map[string]*phonenumbers.PhoneMetadata) bool {
	regions := phonenumbers.GetRegionCodesForCountryCode(p.code)
	for i, id := range regions {
		m := meta[id]
		if m == nil {
			return false
		}
		if i == 0 {
			p.plain = cannotStart(m.GetNationalPrefixForParsing())
		}
		r := planRegion{sameBoth: m.GetSameMobileAndFixedLinePattern(), leading: -1, length: m.GetGeneralDesc().GetPossibleLength()}
		ok := true
		add := func(pattern string, prefix bool) int {
			prog, err := compile(pattern)
			if err != nil || asksPosition(prog) || len(prog.Inst) > 0xffff {
				ok = false
				return -1
			}
			p.progs, p.prefix = append(p.progs, prog), append(p.prefix, prefix)
			return len(p.progs) - 1
		}
		if lead := m.GetLeadingDigits(); lead != "" {
			r.leading = add(lead, true)
		}
		r.general = add(m.GetGeneralDesc().GetNationalNumberPattern(), false)
		for k, desc := range []*phonenumbers.PhoneNumberDesc{
			m.GetPremiumRate(), m.GetTollFree(), m.GetSharedCost(), m.GetVoip(), m.GetPersonalNumber(),
			m.GetPager(), m.GetUan(), m.GetVoicemail(), m.GetFixedLine(), m.GetMobile(),
		} {
			r.kinds[k] = planDesc{prog: -1, length: desc.GetPossibleLength()}
			if pattern := desc.GetNationalNumberPattern(); pattern != "" {
				r.kinds[k].prog = add(pattern, false)
			}
		}
		if !ok {
			return false
		}
		p.regions = append(p.regions, r)
	}
	return len(p.regions) > 0
}

func longest(m *phonenumbers.PhoneMetadata) int {
	l := int32(phonenumbers.MAX_LENGTH_FOR_NSN)
	if desc := m.GetGeneralDesc(); len(desc.GetPossibleLength()) > 0 {
		l = slices.Max(desc.GetPossibleLength())
		for _, local := range desc.GetPossibleLengthLocalOnly() {
			l = max(l, local)
		}
	}
	return int(l)
}

func compile(pattern string) (*syntax.Prog, error) {
	re, err := syntax.Parse("(?:"+pattern+")", syntax.Perl)
	if err != nil {
		return nil, err
	}
	return syntax.Compile(re.Simplify())
}

// asksPosition says whether an expression has anchors, which the automaton does not follow.
func asksPosition(p *syntax.Prog) bool {
	return slices.ContainsFunc(p.Inst, func(i syntax.Inst) bool { return i.Op == syntax.InstEmptyWidth })
}

// cannotStart says for each digit that no number starting with it has a national prefix.
func cannotStart(prefix string) (plain [10]bool) {
	if prefix == "" {
		return [10]bool{true, true, true, true, true, true, true, true, true, true}
	}
	prog, err := compile(prefix)
	if err != nil {
		return plain
	}
	for d := range plain {
		plain[d] = !canStart(prog, byte('0'+d))
	}
	return plain
}

// canStart says whether what an expression matches can be empty or start with the digit. Anchors are taken as fulfilled.
func canStart(p *syntax.Prog, digit byte) bool {
	set := closure(p, nil, uint32(p.Start))
	for _, pc := range set {
		i := &p.Inst[pc]
		if i.Op == syntax.InstMatch || i.MatchRune(rune(digit)) {
			return true
		}
	}
	return false
}

// closure adds the instruction, or what it leads to without a digit, to the set.
func closure(p *syntax.Prog, set []uint32, pc uint32) []uint32 {
	seen := map[uint32]bool{}
	var walk func(uint32)
	walk = func(pc uint32) {
		if seen[pc] {
			return
		}
		seen[pc] = true
		switch i := &p.Inst[pc]; i.Op {
		case syntax.InstAlt, syntax.InstAltMatch:
			walk(i.Out)
			walk(i.Arg)
		case syntax.InstCapture, syntax.InstNop, syntax.InstEmptyWidth:
			walk(i.Out)
		case syntax.InstFail:
		default:
			if !slices.Contains(set, pc) {
				set = append(set, pc)
			}
		}
	}
	walk(pc)
	return set
}

// maxStates bounds an automaton's memory; beyond it the library is asked.
const maxStates = 20_000

// automaton follows all expressions of a plan. It belongs to one goroutine.
type automaton struct {
	plan   *plan
	states []planState
	ids    map[string]int32
}

type planState struct {
	// set holds expression<<16 | instruction, sorted.
	set  []uint32
	next [10]int32 // 0 is not known yet
	// kind of a number that ends here, by its length; 0 is not known yet, else the type + 1.
	kind [phonenumbers.MAX_LENGTH_FOR_NSN + 1]uint8
}

func newAutomaton(p *plan) *automaton {
	a := &automaton{plan: p, ids: map[string]int32{}, states: make([]planState, 1)}
	var set []uint32
	for e, prog := range p.progs {
		for _, pc := range closure(prog, nil, uint32(prog.Start)) {
			set = append(set, uint32(e)<<16|pc)
		}
	}
	a.state(set) // state 1 is the start
	return a
}

func (a *automaton) state(set []uint32) int32 {
	slices.Sort(set)
	key := make([]byte, 0, 4*len(set))
	for _, s := range set {
		key = binary.BigEndian.AppendUint32(key, s)
	}
	if id, ok := a.ids[string(key)]; ok {
		return id
	}
	a.states = append(a.states, planState{set: set})
	id := int32(len(a.states) - 1)
	a.ids[string(key)] = id
	return id
}

// numberType returns what the library's GetNumberType returns for a national number of the plan; ok is false when it must be asked.
func (a *automaton) numberType(nsn []byte) (t phonenumbers.PhoneNumberType, ok bool) {
	if len(nsn) > phonenumbers.MAX_LENGTH_FOR_NSN {
		return 0, false
	}
	at := int32(1)
	for i := 0; i < len(nsn); i++ {
		d := nsn[i] - '0'
		next := a.states[at].next[d]
		if next == 0 {
			if len(a.states) > maxStates {
				return 0, false
			}
			next = a.state(a.step(a.states[at].set, rune(nsn[i])))
			a.states[at].next[d] = next
		}
		at = next
	}
	s := &a.states[at]
	if s.kind[len(nsn)] == 0 {
		s.kind[len(nsn)] = uint8(a.classify(s.set, len(nsn))) + 1
	}
	return phonenumbers.PhoneNumberType(s.kind[len(nsn)] - 1), true
}

func (a *automaton) step(set []uint32, digit rune) []uint32 {
	var out []uint32
	for i := 0; i < len(set); {
		e := set[i] >> 16
		prog := a.plan.progs[e]
		var to []uint32
		for ; i < len(set) && set[i]>>16 == e; i++ {
			pc := set[i] & 0xffff
			switch inst := &prog.Inst[pc]; {
			case inst.Op == syntax.InstMatch:
				if a.plan.prefix[e] && !slices.Contains(to, pc) {
					to = append(to, pc) // the start has matched, whatever follows
				}
			case inst.MatchRune(digit):
				to = closure(prog, to, inst.Out)
			}
		}
		for _, pc := range to {
			out = append(out, e<<16|pc)
		}
	}
	return out
}

// classify does what the library's GetNumberType does, with the expressions that have matched.
func (a *automaton) classify(set []uint32, length int) phonenumbers.PhoneNumberType {
	matched := make([]bool, len(a.plan.progs))
	for _, s := range set {
		e := s >> 16
		if a.plan.progs[e].Inst[s&0xffff].Op == syntax.InstMatch {
			matched[e] = true
		}
	}
	fits := func(lengths []int32) bool { return len(lengths) == 0 || slices.Contains(lengths, int32(length)) }
	typeIn := func(r *planRegion) phonenumbers.PhoneNumberType {
		if !matched[r.general] || !fits(r.length) {
			return phonenumbers.UNKNOWN
		}
		is := func(k int) bool { return r.kinds[k].prog >= 0 && matched[r.kinds[k].prog] && fits(r.kinds[k].length) }
		const fixed, mobile = 8, 9
		for k := range fixed {
			if is(k) {
				return planKinds[k]
			}
		}
		switch {
		case is(fixed) && (r.sameBoth || is(mobile)):
			return phonenumbers.FIXED_LINE_OR_MOBILE
		case is(fixed):
			return phonenumbers.FIXED_LINE
		case !r.sameBoth && is(mobile):
			return phonenumbers.MOBILE
		}
		return phonenumbers.UNKNOWN
	}
	if len(a.plan.regions) == 1 {
		return typeIn(&a.plan.regions[0])
	}
	for i := range a.plan.regions {
		r := &a.plan.regions[i]
		if r.leading >= 0 {
			if matched[r.leading] {
				return typeIn(r)
			}
			continue
		}
		if t := typeIn(r); t != phonenumbers.UNKNOWN {
			return t
		}
	}
	return phonenumbers.UNKNOWN
}
