//! Every shader, in every variant, as SPIR-V for Vulkan, MSL for Metal and HLSL for DX12.

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use purrscope::kernels::Shader;

fn check(name: &str, text: &str) -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(text)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(text)));
    let capabilities =
        Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER | Capabilities::SHADER_FLOAT16;
    let info = Validator::new(ValidationFlags::all(), capabilities)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{name}: {}", error.emit_to_string(text)));
    (module, info)
}

#[test]
fn every_shader_translates_to_spirv_msl_and_hlsl() {
    let variants = Shader::variants(&[1, 2, 4, 8, 17, 64], &[1, 8, 16]);
    for shader in &variants {
        let (name, text) = (shader.name(), shader.text());
        assert!(
            !["{{", "//?", "//!", "//{", "//}", "//[", "_T", "(T)"]
                .iter()
                .any(|mark| text.contains(mark)),
            "{name}: not filled in"
        );
        let (module, info) = check(&name, &text);

        let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
        let words = spv::write_vec(&module, &info, &options, None)
            .unwrap_or_else(|error| panic!("{name}: SPIR-V: {error}"));
        assert_eq!(words[0], 0x0723_0203, "{name}: SPIR-V's first word");

        let options = msl::Options {
            lang_version: (2, 4),
            fake_missing_bindings: true,
            ..msl::Options::default()
        };
        let (metal, _) =
            msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
                .unwrap_or_else(|error| panic!("{name}: MSL: {error}"));
        assert!(metal.contains("kernel void main_"), "{name}: no kernel in the MSL");

        let options = hlsl::Options {
            shader_model: hlsl::ShaderModel::V6_2,
            fake_missing_bindings: true,
            ..hlsl::Options::default()
        };
        let mut direct = String::new();
        let pipeline = hlsl::PipelineOptions::default();
        hlsl::Writer::new(&mut direct, &options, &pipeline)
            .write(&module, &info, None)
            .unwrap_or_else(|error| panic!("{name}: HLSL: {error}"));
        let kernel = format!("[numthreads({}, 1, 1)]", shader.lanes());
        assert!(direct.contains(&kernel), "{name}: no kernel in the HLSL");
    }
    println!("{} variants", variants.len());
}
