package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"candor/pkg/roster"
)

// uploadOptions reads how the file is to be read from the upload's query; map and map_data may come several times.
func uploadOptions(r *http.Request) (opts roster.Options, err error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return opts, fmt.Errorf("query of the upload: %w", err)
	}
	opts.Map, opts.MapData = map[string][]string{}, map[string]string{}
	var errs []error
	for key, values := range q {
		for _, value := range values {
			name, meaning, ok := strings.Cut(value, "=")
			switch key {
			case "default_country":
				opts.DefaultCountry = value
			case "default_zone":
				opts.DefaultZone = value
			case "default_language":
				opts.DefaultLanguage = value
			case "name": // of the file, for people who read the request
			case "map":
				if opts.Map[name] = append(opts.Map[name], meaning); !ok {
					errs = append(errs, fmt.Errorf("map=%s: write map=FIELD=HEADER, as in map=email=E-mail Address", value))
				}
			case "map_data":
				if opts.MapData[name] = meaning; !ok {
					errs = append(errs, fmt.Errorf("map_data=%s: write map_data=WORD=KIND, as in map_data=tarjeta=payment_card", value))
				}
			default:
				errs = append(errs, fmt.Errorf("%s: an upload knows default_country, default_zone, default_language, map, map_data and name", key))
			}
		}
	}
	return opts, errors.Join(errs...)
}
