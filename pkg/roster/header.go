package roster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// field is a column that the import knows.
type field uint8

const (
	fieldNone field = iota
	fieldRef
	fieldGivenName
	fieldFamilyName
	fieldEmail
	fieldPhones
	fieldLanguage
	fieldCountry
	fieldRegion
	fieldPostalCode
	fieldZone
	fieldTier
	fieldData
	fieldCompromised
	fieldNoSMS
	fieldNoEmail
	fieldNoCall
	numFields
)

// row returns the field's name and the usual headers in English and Spanish, already folded (see foldHeader).
func (f field) row() (name, headers string) {
	switch f {
	case fieldRef:
		return "customer_ref", "customerref|customerid|customerno|customernumber|customer|clientid|clientno|clientnumber|accountid|accountnumber|accountno|memberid|membernumber|userid|id|ref|reference|uid|crmid|idcliente|clienteid|cliente|codigocliente|codigodecliente|numerodecliente|numerocliente|nocliente|ncliente|referencia|iddecliente|idusuario|numerodecuenta"
	case fieldGivenName:
		return "given_name", "givenname|firstname|first|forename|name|fullname|customername|nombre|nombres|nombredepila|nombrecompleto|primernombre|nombrecliente"
	case fieldFamilyName:
		return "family_name", "familyname|lastname|last|surname|apellido|apellidos|primerapellido|apellidopaterno"
	case fieldEmail:
		return "email", "emailaddress|mail|mailaddress|emailid|contactemail|primaryemail|email1|correo|correoelectronico|correoe|direcciondecorreo|direcciondecorreoelectronico|emailcliente|secondaryemail|email2"
	case fieldPhones:
		return "phones", "phone|phonenumber|phonenumbers|phoneno|telephone|telephonenumber|tel|mobile|mobilephone|mobilenumber|mobileno|cell|cellphone|cellnumber|cellular|homephone|workphone|primaryphone|contactnumber|phone1|phone2|phone3|mobile1|mobile2|otherphone|telefono|telefonos|telefonomovil|numerodetelefono|movil|moviles|celular|celulares|telefonocelular|telefonofijo|fijo|telefono1|telefono2|telefono3|telcasa|telmovil|teltrabajo|telefonocasa|telefonotrabajo|numerodemovil|numerodecelular|whatsapp"
	case fieldLanguage:
		return "language", "lang|locale|preferredlanguage|languagecode|languagepreference|idioma|lengua|idiomapreferido|lenguaje"
	case fieldCountry:
		return "country", "countrycode|countryname|countryofresidence|nation|pais|codigopais|codigodepais|paisderesidencia"
	case fieldRegion:
		return "region", "state|province|stateprovince|stateorprovince|statecode|estado|provincia|comunidad|comunidadautonoma|departamento|entidad|entidadfederativa"
	case fieldPostalCode:
		return "postal_code", "postalcode|postcode|zip|zipcode|zippostalcode|cp|codigopostal|codpostal"
	case fieldZone:
		return "time_zone", "timezone|tz|tzid|zonahoraria|husohorario|huso"
	case fieldTier:
		return "tier", "priority|prioritytier|nivel|prioridad"
	case fieldData:
		return "data_exposed", "dataexposed|exposeddata|data|datatypes|datakinds|datacategories|compromiseddata|affecteddata|datosexpuestos|datos|datosafectados|datoscomprometidos|tiposdedatos|datosfiltrados"
	case fieldCompromised:
		return "compromised_channels", "compromisedchannels|compromisedchannel|channelscompromised|canalescomprometidos|canalcomprometido|canalesnoseguros"
	case fieldNoSMS:
		return "no_sms", "nosms|smsoptout|donottext|optoutsms|notext|sinsms|noenviarsms"
	case fieldNoEmail:
		return "no_email", "noemail|emailoptout|donotemail|optoutemail|nomail|sincorreo|nocorreo|noenviarcorreo|sinemail"
	case fieldNoCall:
		return "no_call", "nocall|nocalls|calloptout|donotcall|dnc|optoutcall|phoneoptout|nollamar|sinllamadas|nollamadas"
	}
	return "", ""
}

// String returns the field's name.
func (f field) String() string {
	name, _ := f.row()
	return name
}

// Fields returns the names of the columns that an import knows.
func Fields() []string {
	var names []string
	for f := fieldRef; f < numFields; f++ {
		names = append(names, f.String())
	}
	return names
}

// ColumnMapping says what became of a column of the file.
type ColumnMapping struct {
	Header string `json:"header"`
	// Field is empty for a column that is ignored.
	Field string `json:"field,omitempty"`
	// How is "name" (the header is a usual one), "map" (Options.Map says so) or "ignored".
	How string `json:"how"`
}

// headers resolves the headers of one file.
type headers struct {
	known  map[string]field
	mapped map[string]field
}

func newHeaders(mapping map[string][]string) (*headers, error) {
	h := &headers{known: map[string]field{}, mapped: map[string]field{}}
	byName := map[string]field{}
	for f := fieldRef; f < numFields; f++ {
		name, usual := f.row()
		byName[name] = f
		h.known[foldHeader(name)] = f
		for u := range strings.SplitSeq(usual, "|") {
			h.known[u] = f
		}
	}
	var errs []error
	for name, cols := range mapping {
		f, ok := byName[name]
		if !ok {
			errs = append(errs, fmt.Errorf("map %q: no such field: use one of %s", name, strings.Join(Fields(), ", ")))
			continue
		}
		for _, col := range cols {
			if other, ok := h.mapped[foldHeader(col)]; ok && other != f {
				errs = append(errs, fmt.Errorf("map: column %q is given to both %s and %s", col, other, f))
			}
			h.mapped[foldHeader(col)] = f
		}
	}
	return h, errors.Join(errs...)
}

// resolve says which field a header stands for.
func (h *headers) resolve(header string) (field, ColumnMapping) {
	folded := foldHeader(header)
	m := ColumnMapping{Header: safeWord(header)}
	if f, ok := h.mapped[folded]; ok {
		m.Field, m.How = f.String(), "map"
		return f, m
	}
	// A field that was mapped by hand is not taken from other columns as well.
	if f, ok := h.known[folded]; ok && !h.taken(f) {
		m.Field, m.How = f.String(), "name"
		return f, m
	}
	m.How = "ignored"
	return fieldNone, m
}

func (h *headers) taken(f field) bool {
	for _, g := range h.mapped {
		if g == f {
			return true
		}
	}
	return false
}

func (h *headers) isKnown(header string) bool {
	f, _ := h.resolve(header)
	return f != fieldNone
}

// header resolves the header row of a CSV file.
func (h *headers) header(cells []string) ([]field, []ColumnMapping, error) {
	fields := make([]field, len(cells))
	mapping := make([]ColumnMapping, len(cells))
	found := map[string]bool{}
	some := false
	for i, c := range cells {
		fields[i], mapping[i] = h.resolve(c)
		some = some || fields[i] != fieldNone
		found[foldHeader(c)] = true
	}
	var missing []string
	for col := range h.mapped {
		if !found[col] {
			missing = append(missing, col)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, nil, fmt.Errorf("map: the file has no column %s", strings.Join(missing, ", "))
	}
	for i, c := range cells {
		if fields[i] == fieldNone && personal(c) {
			// A file without headers: its first customer would be taken for them, and shown as such.
			return nil, nil, fmt.Errorf("column %d of the first row holds an address or a number: the row must hold the headers, such as %s", i+1, strings.Join(Fields()[:5], ", "))
		}
	}
	if !some {
		// The row may be a customer's: it is not quoted here.
		return nil, nil, fmt.Errorf("no column of the first row is known: it must hold the headers, such as %s; or map them", strings.Join(Fields()[:5], ", "))
	}
	if !slices.Contains(fields, fieldPhones) && !slices.Contains(fields, fieldEmail) {
		return nil, nil, errors.New("the file has no column with telephone numbers and none with e-mail addresses: map one, as in --map email=\"Contact\"")
	}
	return fields, mapping, nil
}

// personal says whether a cell is a customer's rather than a header: no column is named like an address, or like a number alone.
func personal(cell string) bool {
	const phoneDigits = 7
	if strings.ContainsFunc(cell, unicode.IsLetter) {
		return strings.Contains(cell, "@")
	}
	digits := 0
	for _, r := range cell {
		if unicode.IsDigit(r) {
			digits++
		}
	}
	return digits >= phoneDigits
}
