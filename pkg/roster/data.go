package roster

import (
	"fmt"
	"strings"
)

// DataKind is a kind of personal data that a breach can expose. The list is closed: advice, letters and scripts are written for each.
type DataKind uint8

// The kinds of data.
const (
	PaymentCard DataKind = iota + 1
	BankAccount
	Password
	Username
	SecurityAnswers
	SSN
	TaxID
	NationalID
	DriverLicence
	Passport
	Health
	Insurance
	Biometric
	Genetic
	FinancialRecords
	NameData
	EmailAddress
	PhoneNumber
	PostalAddress
	DateOfBirth
	Location
	Messages
	OrderHistory
	Employment
	lastDataKind = Employment
)

// The rows are code, label, and the words that files use for it in English and Spanish, already folded (see foldWord).
func (k DataKind) row() (code, label, words string) {
	switch k {
	case PaymentCard:
		return "payment_card", "payment card", "card|credit card|debit card|card number|credit card number|payment card number|pan|tarjeta|tarjetas|tarjeta de credito|tarjeta de debito|numero de tarjeta|tarjeta bancaria|datos de tarjeta"
	case BankAccount:
		return "bank_account", "bank account", "bank|bank account number|account number|iban|routing number|cuenta|cuenta bancaria|cuenta de banco|numero de cuenta|datos bancarios|clabe"
	case Password:
		return "password", "password", "passwords|pwd|password hash|hashed password|log in|login|credentials|contrasena|contrasenas|clave|clave de acceso|credenciales"
	case Username:
		return "username", "user name", "user|user id|login name|account name|usuario|nombre de usuario"
	case SecurityAnswers:
		return "security_answers", "security questions and answers", "security question|security questions|security answer|secret question|pregunta de seguridad|preguntas de seguridad|respuesta secreta"
	case SSN:
		return "ssn", "social security number", "social security|social security no|social security numbers|ssns|seguro social|numero de seguro social|numero de seguridad social|seguridad social|nss"
	case TaxID:
		return "tax_id", "tax number", "tax|tax id number|taxpayer id|tin|itin|ein|nif|cif|rfc|cuit|cuil|rut|numero fiscal|identificacion fiscal"
	case NationalID:
		return "national_id", "national identity number", "id card|identity card|identity document|national id number|government id|dni|nie|curp|cedula|documento de identidad|identificacion oficial|ine"
	case DriverLicence:
		return "driver_licence", "driver's licence", "driver license|drivers license|driver s license|drivers licence|driver licence number|driver license number|driving licence|dl|licencia|licencia de conducir|licencia de manejo|carne de conducir|permiso de conducir"
	case Passport:
		return "passport", "passport", "passport number|pasaporte|numero de pasaporte"
	case Health:
		return "health", "health information", "medical|medical records|health data|health record|health records|diagnosis|phi|salud|datos de salud|historia clinica|historial medico|expediente medico|datos medicos"
	case Insurance:
		return "insurance", "insurance details", "insurance number|insurance policy|policy number|health insurance|member id|seguro|seguro medico|poliza|numero de poliza"
	case Biometric:
		return "biometric", "biometric data", "biometrics|fingerprint|fingerprints|face|face scan|voiceprint|biometria|datos biometricos|huella|huellas|huella dactilar"
	case Genetic:
		return "genetic", "genetic data", "dna|genome|adn|datos geneticos"
	case FinancialRecords:
		return "financial_records", "financial records", "financial|financial data|income|salary|credit score|transactions|loan|datos financieros|ingresos|salario|nomina|movimientos|historial crediticio|prestamo"
	case NameData:
		return "name", "name", "names|full name|first name|last name|surname|nombre|nombres|apellido|apellidos|nombre completo|nombre y apellidos"
	case EmailAddress:
		return "email_address", "email address", "email|e mail|mail|e mail address|email addresses|correo|correos|correo electronico|direccion de correo|direccion de correo electronico"
	case PhoneNumber:
		return "phone_number", "phone number", "phone|phones|telephone|telephone number|mobile|mobile number|cell|cell phone|telefono|telefonos|movil|celular|numero de telefono|telefono movil"
	case PostalAddress:
		return "postal_address", "postal address", "address|home address|mailing address|street address|street|zip|zip code|direccion|domicilio|direccion postal|codigo postal|calle"
	case DateOfBirth:
		return "date_of_birth", "date of birth", "dob|birth date|birthdate|birthday|fecha de nacimiento|nacimiento|cumpleanos"
	case Location:
		return "location", "location data", "geolocation|gps|ip|ip address|ubicacion|localizacion|geolocalizacion|direccion ip"
	case Messages:
		return "messages", "messages and files", "message|chat|chats|emails content|message content|correspondence|documents|photos|mensajes|mensaje|conversaciones|documentos|fotos|archivos"
	case OrderHistory:
		return "order_history", "orders and purchases", "orders|purchases|purchase history|bookings|invoices|pedidos|compras|historial de compras|facturas|reservas"
	case Employment:
		return "employment", "employment details", "employment data|job|employer|employee id|hr data|empleo|trabajo|datos laborales|puesto"
	}
	return "", "", ""
}

// String returns the kind's code, as in payment_card.
func (k DataKind) String() string {
	if code, _, _ := k.row(); code != "" {
		return code
	}
	return fmt.Sprintf("DataKind(%d)", uint8(k))
}

// Label returns the kind in plain English words, as in social security number.
func (k DataKind) Label() string {
	_, label, _ := k.row()
	return label
}

// AllDataKinds returns the closed list, in its fixed order.
func AllDataKinds() []DataKind {
	all := make([]DataKind, 0, lastDataKind)
	for k := PaymentCard; k <= lastDataKind; k++ {
		all = append(all, k)
	}
	return all
}

// ParseDataKind returns the kind that a word stands for, be it a code, a label or a usual English or Spanish word.
func ParseDataKind(word string) (DataKind, error) {
	if k, ok := dataWords()[foldWord(word)]; ok {
		return k, nil
	}
	return 0, fmt.Errorf("unknown kind of data %q: use one of %s", safeWord(word), strings.Join(dataCodes(), ", "))
}

func dataCodes() []string {
	var codes []string
	for _, k := range AllDataKinds() {
		codes = append(codes, k.String())
	}
	return codes
}

// dataWords builds the table of all words; it belongs to one import.
func dataWords() map[string]DataKind {
	table := map[string]DataKind{}
	for _, k := range AllDataKinds() {
		code, label, words := k.row()
		table[foldWord(code)], table[foldWord(label)] = k, k
		for w := range strings.SplitSeq(words, "|") {
			table[w] = k
		}
	}
	return table
}

// DataKinds is a set of kinds of data.
type DataKinds uint32

// Has says whether the kind is in the set.
func (s DataKinds) Has(k DataKind) bool { return s&(1<<k) != 0 }

// With returns the set with the kind in it.
func (s DataKinds) With(k DataKind) DataKinds { return s | 1<<k }

// Kinds returns the set's kinds in the order of the closed list.
func (s DataKinds) Kinds() []DataKind {
	var kinds []DataKind
	for k := PaymentCard; k <= lastDataKind; k++ {
		if s.Has(k) {
			kinds = append(kinds, k)
		}
	}
	return kinds
}

// String lists the codes, as in payment_card,password.
func (s DataKinds) String() string {
	var codes []string
	for _, k := range s.Kinds() {
		codes = append(codes, k.String())
	}
	return strings.Join(codes, ",")
}
