package playbook

// Script is what an agent says in one language, step by step, and what to answer. The texts take the placeholders of notices.
type Script struct {
	// Opening says who calls and asks for the customer, and then apologises.
	Opening Text `yaml:"opening"`
	// Safety offers the customer to check the call first.
	Safety       Text `yaml:"safety"`
	WhatHappened Text `yaml:"what_happened"`
	WhatOfYours  Text `yaml:"what_of_yours"`
	WhatWeDo     Text `yaml:"what_we_do"`
	WhatYouCanDo Text `yaml:"what_you_can_do"`
	More         Text `yaml:"more"`
	// Escalation tells the agent whom to hand over to whom.
	Escalation Text `yaml:"escalation"`
	// Closing apologises again.
	Closing Text `yaml:"closing"`
	// Voicemail is for a machine: whoever hears it learns nothing.
	Voicemail Text `yaml:"voicemail"`
	// Bank is answered by the kinds of data that a customer lost.
	Bank    Bank     `yaml:"bank"`
	Answers []Answer `yaml:"answers"`
}

// Bank is what everybody asks: whether they need to call their bank.
type Bank struct {
	Question Text `yaml:"question"`
	// Needed is for those who lost data of a kind with call_bank, NotNeeded for all others.
	Needed    Text `yaml:"needed"`
	NotNeeded Text `yaml:"not_needed"`
}

// Answer is a question that customers ask, and what they are told.
type Answer struct {
	Question Text `yaml:"question"`
	Answer   Text `yaml:"answer"`
	// Kinds of data that the answer is about: only those who lost some of them get it. Empty for everybody.
	Kinds []string `yaml:"kinds,optional"`
}

// Voicemail is the name of the part for machines.
const Voicemail = "voicemail"

// Parts yields the parts of a call as they follow, with their names.
func (s *Script) Parts(yield func(name string, text Text) bool) {
	for _, p := range []struct {
		name string
		text Text
	}{
		{"opening", s.Opening},
		{"safety", s.Safety},
		{"what_happened", s.WhatHappened},
		{"what_of_yours", s.WhatOfYours},
		{"what_we_do", s.WhatWeDo},
		{"what_you_can_do", s.WhatYouCanDo},
		{"more", s.More},
		{"escalation", s.Escalation},
		{"closing", s.Closing},
		{Voicemail, s.Voicemail},
	} {
		if !yield(p.name, p.text) {
			return
		}
	}
}
