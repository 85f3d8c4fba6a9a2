// What Go makes of the configurations of kubelet and kube-proxy: their fields with their types, by reflection on what the
// programs decode into, and whether it reads a given one.
//
//	config-types fields KIND
//	config-types decode KIND   a JSON document per line on stdin; a line with nothing or with the fault for each
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	logs "k8s.io/component-base/logs/api/v1"
	proxy "k8s.io/kube-proxy/config/v1alpha1"
	kubelet "k8s.io/kubelet/config/v1beta1"
	kjson "sigs.k8s.io/json"
)

// Types that decode themselves, by what they take.
var own = map[reflect.Type]string{
	reflect.TypeOf(metav1.Duration{}):         "duration",
	reflect.TypeOf(logs.TimeOrMetaDuration{}): "duration-or-nanoseconds",
	reflect.TypeOf(resource.Quantity{}):       "quantity",
	reflect.TypeOf(resource.QuantityValue{}):  "quantity",
	reflect.TypeOf(metav1.Time{}):             "time",
}

var decoder = reflect.TypeOf((*json.Unmarshaler)(nil)).Elem()

func walk(path string, t reflect.Type, rows *[]string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if name, ok := own[t]; ok {
		return name
	}
	if reflect.PointerTo(t).Implements(decoder) {
		panic(fmt.Sprintf("%s: %s decodes itself", path, t))
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Float32, reflect.Float64:
		return t.Kind().String()
	case reflect.Slice:
		return "[]" + walk(path+"[]", t.Elem(), rows)
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("%s: keys of %s", path, t))
		}
		return "map[string]" + walk(path+"{}", t.Elem(), rows)
	case reflect.Struct:
		fields(path, t, rows)
		return "object"
	}
	panic(fmt.Sprintf("%s: %s", path, t))
}

func fields(path string, t reflect.Type, rows *[]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "-" {
			continue
		}
		if field.Anonymous && (name == "" || strings.Contains(options, "inline")) {
			fields(path, field.Type, rows)
			continue
		}
		below := name
		if path != "" {
			below = path + "." + name
		}
		*rows = append(*rows, below+" "+walk(below, field.Type, rows))
	}
}

func decode(t reflect.Type) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		// As the components' decoders do it (k8s.io/apimachinery/pkg/runtime/serializer/json).
		err := kjson.UnmarshalCaseSensitivePreserveInts(lines.Bytes(), reflect.New(t).Interface())
		if err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println()
		}
	}
	return lines.Err()
}

func main() {
	kinds := map[string]reflect.Type{
		"KubeletConfiguration":   reflect.TypeOf(kubelet.KubeletConfiguration{}),
		"KubeProxyConfiguration": reflect.TypeOf(proxy.KubeProxyConfiguration{}),
	}
	if len(os.Args) != 3 || kinds[os.Args[2]] == nil {
		fmt.Fprintln(os.Stderr, "usage: config-types fields|decode KIND")
		os.Exit(2)
	}
	kind := kinds[os.Args[2]]
	if os.Args[1] == "decode" {
		if err := decode(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var rows []string
	fields("", kind, &rows)
	sort.Strings(rows)
	fmt.Println(strings.Join(rows, "\n"))
}
